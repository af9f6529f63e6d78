"""Spectral features of a scene, written as a raster."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.files import check_output
from hsi_toolkit.progress import Pace, Progress
from hsi_toolkit.scene import RasterWriter, iter_blocks, open_scene
from hsi_toolkit.spectral import GroupwisePCA, MultiScalePCA
from hsi_toolkit.tasks.features import Features


def run(task: Features, progress: Progress) -> Mapping[str, object]:
    """Fit the components in one pass over the scene's good bands and write the features in another."""
    check_output(task.output, overwrite=task.overwrite)
    scene = open_scene(task.scene, task.variable).hsi.good_bands
    memory = task.memory_limit * 2**20 if task.memory_limit else None
    pca = MultiScalePCA() if task.method == "mspca" else GroupwisePCA()
    rows = scene.sizes["y"]
    pace = Pace(progress, "Two passes over the scene", 2 * rows * scene.sizes["x"], "pixels")
    for block in iter_blocks(scene, memory_limit=memory):
        progress.check()
        pca.partial_fit(block.core.reshape(len(block.data), -1).T)
        pace.report(0.5 * block.y1 / rows, "Fitting the components")
    names = [str(name) for name in pca.get_feature_names_out()]
    with RasterWriter(
        task.output, like=scene, count=len(names), descriptions=names, overwrite=task.overwrite
    ) as writer:
        for block in iter_blocks(scene, memory_limit=memory):
            progress.check()
            writer.write(_features(pca, block.core), block.y0)
            pace.report(0.5 + 0.5 * block.y1 / rows, "Writing the features")
    return {
        "summary": f"{len(names)} features of {scene.sizes['band']} bands.",
        "outputs": {"features": task.output},
        "features": len(names),
        "bands": scene.sizes["band"],
        "explained_variance": [float(value) for value in pca.explained_variance_],
    }


def _features(pca: GroupwisePCA | MultiScalePCA, data: NDArray[np.float32]) -> NDArray[np.float32]:
    bands, rows, cols = data.shape
    return pca.transform(data.reshape(bands, -1).T).astype(np.float32).T.reshape(-1, rows, cols)
