"""What a user would pick instead: classical classifiers on spectra, smoothed spectra and profiles."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from benchmarks.few_labels import LabelSplit, used_bands, valid_pixels

Features = NDArray[np.float32]
Index = NDArray[np.int64]

SIGMA = 2.0
TREES = 500
# 4 x 5 points; gamma is in units of 1 / number of standardised features.
GRID_C = (1.0, 10.0, 100.0, 1000.0)
GRID_GAMMA = (0.01, 0.1, 0.3, 1.0, 3.0)
PROFILE_COMPONENTS = 4
PROFILE_SIZES = (3, 5, 9, 13)


@dataclass(frozen=True)
class Views:
    """A scene's features (H, W, n) as the baselines see them."""

    spectra: Features
    smoothed: Features
    profiles: Features


def views(scene: xr.DataArray) -> Views:
    """Spectra, Gaussian-smoothed spectra and extended morphological profiles; no label is used."""
    valid = valid_pixels(scene)
    spectra = np.ascontiguousarray(scene.to_numpy()[used_bands(scene)].transpose(1, 2, 0))
    return Views(spectra, smooth(spectra, valid), profiles(spectra, valid))


def smooth(spectra: Features, valid: NDArray[np.bool_]) -> Features:
    """Gaussian mean of the valid neighbours of each pixel, band by band."""
    weight = ndimage.gaussian_filter(valid.astype(np.float64), SIGMA)
    filled = np.where(valid[..., None], spectra, 0.0)
    blurred = ndimage.gaussian_filter(filled, (SIGMA, SIGMA, 0))
    return (blurred / np.maximum(weight, 1e-9)[..., None]).astype(np.float32)


def profiles(spectra: Features, valid: NDArray[np.bool_]) -> Features:
    """Extended morphological profiles: components with their openings and closings (Benediktsson 2005)."""
    components = PCA(PROFILE_COMPONENTS, random_state=0).fit(spectra[valid])
    scores = np.zeros((*valid.shape, PROFILE_COMPONENTS), np.float32)
    scores[valid] = components.transform(spectra[valid])
    # Pixels without data take the nearest valid value: zeros would open and close the scene's edges.
    nearest = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
    scores = scores[tuple(nearest)]
    layers = [scores]
    for size in PROFILE_SIZES:
        disc = np.hypot(*np.mgrid[-(size // 2) : size // 2 + 1, -(size // 2) : size // 2 + 1]) <= size / 2
        layers += [
            ndimage.grey_opening(scores, footprint=disc[..., None]),
            ndimage.grey_closing(scores, footprint=disc[..., None]),
        ]
    return np.concatenate(layers, axis=2)


def _lda() -> BaseEstimator:
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")


def _forest() -> BaseEstimator:
    return RandomForestClassifier(TREES, class_weight="balanced", random_state=0, n_jobs=1)


def _svm() -> BaseEstimator:
    return make_pipeline(StandardScaler(), SVC(class_weight="balanced"))


BASELINES: Mapping[str, tuple[Callable[[], BaseEstimator], str]] = {
    "LDA spectra": (_lda, "spectra"),
    "LDA smoothed": (_lda, "smoothed"),
    "SVM spectra": (_svm, "spectra"),
    "SVM smoothed": (_svm, "smoothed"),
    "RF spectra": (_forest, "spectra"),
    "RF smoothed": (_forest, "smoothed"),
    "EMP + SVM": (_svm, "profiles"),
}


def predict(name: str, scene_views: Views, labels: Index, split: LabelSplit) -> Index:
    """Labels (n,) that baseline ``name`` gives the test pixels of ``split``.

    The grid of a support vector machine is searched in folds of whole clusters, which is kinder to it than
    folds of neighbouring pixels.
    """
    make, view = BASELINES[name]
    features = getattr(scene_views, view)
    train, test = features[tuple(split.train.T)], features[tuple(split.test.T)]
    known = labels[tuple(split.train.T)]
    estimator = make()
    with warnings.catch_warnings():
        # Classes of one or two pixels: folds without them, covariances of one sample.
        warnings.simplefilter("ignore")
        if make is _svm:
            gammas = [gamma / train.shape[1] for gamma in GRID_GAMMA]
            folds = StratifiedGroupKFold(3, shuffle=True, random_state=0).split(train, known, split.groups)
            grid = {"svc__C": GRID_C, "svc__gamma": gammas}
            estimator = GridSearchCV(estimator, grid, cv=list(folds), scoring="balanced_accuracy")
        return estimator.fit(train, known).predict(test)
