"""What a user can ask for: one frozen dataclass a task, in the order help texts list them."""

from typing import Dict, Type

from .anomalies import Anomalies
from .base import Parameter, Task
from .bimae_classify import BimaeClassify
from .bimae_finetune import BimaeFinetune
from .bimae_pretrain import BimaePretrain
from .card import Card
from .change import Change
from .check import Check
from .classify import Classify
from .classify_scenes import ClassifyScenes
from .codec_test import CodecTest
from .codec_train import CodecTrain
from .compare import Compare
from .compress import Compress
from .dataset_tile import DatasetTile
from .decompress import Decompress
from .demo import Demo
from .denoise import Denoise
from .doctor import Doctor
from .draw_next import DrawNext
from .evaluate import Evaluate
from .export import Export
from .features import Features
from .info import Info
from .map import Map
from .pretrain import Pretrain
from .resample import Resample
from .superresolve import Superresolve
from .target import Target
from .train import Train
from .unmix import Unmix

TASKS: Dict[str, Type[Task]] = {
    task.name: task
    for task in (
        Info,
        Check,
        Resample,
        Export,
        Compress,
        Decompress,
        Features,
        Map,
        Train,
        Classify,
        ClassifyScenes,
        Evaluate,
        DrawNext,
        Pretrain,
        Card,
        BimaeFinetune,
        BimaeClassify,
        BimaePretrain,
        Anomalies,
        Target,
        Unmix,
        Change,
        Denoise,
        Superresolve,
        Compare,
        DatasetTile,
        CodecTrain,
        CodecTest,
        Demo,
        Doctor,
    )
}

FAMILIES: Dict[str, str] = {
    "bimae": "Train and use a model of two layers: a sharp image and a hyperspectral one.",
    "codec": "Train and test the learned codecs.",
    "dataset": "Make data sets for training.",
}
"""What the tasks of a family are about, by the word they share on the command line."""

__all__ = ["FAMILIES", "TASKS", "Parameter", "Task"]
