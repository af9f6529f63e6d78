"""Fitting the spectral experts of a classifier: shrinkage discriminants and a forest, on few labels."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf
from sklearn.ensemble import ExtraTreesClassifier
from torch import Tensor

from hsi_toolkit.models.experts import ExpertStack, ForestExpert, LinearExpert, SpectralFeatures, shapes_of
from hsi_toolkit.spectral import GroupwisePCA

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]

TREES = 100
# Bounds the table of nodes where labels are many; a few hundred labelled pixels never reach it.
_MOST_LEAVES = 512
# Length added to a spectrum's own before dividing by it, as a share of the mean length.
_SHAPE_FLOOR = 0.01
# Least spread of a standardised value, as a share of its spread over all training pixels.
_LEAST_SPREAD = 1e-3


def fit_features(spectra: NDArray[np.float32]) -> SpectralFeatures:
    """Group-wise components of spectra (n, bands) and of their shapes, fitted without labels."""
    values = torch.from_numpy(spectra.astype(np.float64))
    floor = _SHAPE_FLOOR * torch.linalg.vector_norm(values, dim=1).mean()
    own, shape = GroupwisePCA(), GroupwisePCA()
    own.fit(values.numpy())
    shape.fit(shapes_of(values, floor).numpy())
    return SpectralFeatures(
        _float(own.mean_),
        _float(own.components_matrix_),
        _float(shape.mean_),
        _float(shape.components_matrix_),
        floor.float(),
    )


def fit_experts(
    spectra: Tensor, features: SpectralFeatures, classes: Index, n_classes: int, seed: int
) -> ExpertStack:
    """The stack of experts for spectra (n, bands) of ``classes`` (n,), each of the ``n_classes`` present."""
    values = features.with_shape(spectra).double().numpy()
    return ExpertStack(
        fit_discriminant(spectra.double().numpy(), classes, n_classes),
        fit_discriminant(values, classes, n_classes),
        fit_forest(values, classes, n_classes, seed),
    )


def fit_discriminant(values: Float64, classes: Index, n_classes: int) -> LinearExpert:
    """Linear discriminant analysis of values (n, features), all classes equally likely.

    The covariance within classes, of standardised values, is shrunk after Ledoit and Wolf (2004, "A
    well-conditioned estimator for large-dimensional covariance matrices", J. Multivariate Analysis 88).
    """
    n, width = values.shape
    overall = values.mean(axis=0)
    means = np.stack([values[classes == k].mean(axis=0) for k in range(n_classes)])
    within = values - means[classes]
    least = _LEAST_SPREAD * values.std(axis=0)
    scale = np.maximum(within.std(axis=0), least)
    scale[scale == 0] = 1.0
    covariance, _ = ledoit_wolf(within / scale, assume_centered=True)
    covariance = covariance * (n / max(1, n - n_classes))
    covariance[np.diag_indices(width)] += 1e-6 * max(np.trace(covariance) / width, 1e-6)
    centres = (means - overall) / scale
    weight = np.linalg.solve(covariance, centres.T)
    bias = -0.5 * np.einsum("kf,fk->k", centres, weight)
    return LinearExpert(_float(overall), _float(scale), _float(weight), _float(bias))


def fit_forest(values: Float64, classes: Index, n_classes: int, seed: int) -> ForestExpert:
    """Extremely randomised trees (Geurts et al. 2006) on values (n, features), classes weighted equally."""
    forest = ExtraTreesClassifier(
        TREES, max_leaf_nodes=_MOST_LEAVES, class_weight="balanced", random_state=seed, n_jobs=1
    )
    forest.fit(values, classes)
    trees = [estimator.tree_ for estimator in forest.estimators_]
    roots = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]
    feature = np.concatenate([np.maximum(tree.feature, 0) for tree in trees])
    threshold = np.concatenate([tree.threshold for tree in trees])
    branches = np.concatenate([_branches(tree, root) for tree, root in zip(trees, roots, strict=True)])
    values_of_leaves = np.zeros((len(feature), n_classes))
    frequencies = np.concatenate([tree.value[:, 0] for tree in trees])
    values_of_leaves[:, forest.classes_] = frequencies / frequencies.sum(axis=1, keepdims=True)
    return ForestExpert(
        torch.from_numpy(feature.astype(np.int16)),
        _float(threshold),
        torch.from_numpy(branches.astype(np.int32)),
        _float(values_of_leaves),
        torch.from_numpy(roots.astype(np.int32)),
        depth=max(tree.max_depth for tree in trees),
    )


class _Tree:
    """What is used of scikit-learn's compiled tree."""

    node_count: int
    children_left: NDArray[np.int64]
    children_right: NDArray[np.int64]


def _branches(tree: _Tree, root: int) -> NDArray[np.int64]:
    """Left and right child (nodes, 2) of every node, numbered from ``root``; a leaf leads to itself."""
    branches = np.stack([tree.children_left, tree.children_right], axis=1)
    own = np.arange(tree.node_count)[:, np.newaxis]
    numbered: NDArray[np.int64] = np.where(branches < 0, own, branches) + root
    return numbered


def _float(values: Float64) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
