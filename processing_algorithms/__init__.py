"""One module a Processing algorithm; ``ALGORITHMS`` lists their classes."""

from .bimae_classify import ClassifyObjects
from .bimae_finetune import TrainObjects
from .bimae_pretrain import PretrainObjects
from .check_engine import CheckEngine
from .check_scene import CheckScene
from .classify import Classify
from .classify_scenes import ClassifyScenes
from .compare import Compare
from .compress_scene import CompressScene
from .cut_patches import CutPatches
from .decompress_scene import DecompressScene
from .denoise import Denoise
from .detect_anomalies import DetectAnomalies
from .detect_change import DetectChange
from .detect_target import DetectTarget
from .evaluate import Evaluate
from .export_scene import ExportScene
from .features import Features
from .measure_codecs import MeasureCodecs
from .model_card import ModelCard
from .polygons_to_map import PolygonsToMap
from .pretrain import Pretrain
from .resample import Resample
from .scene_information import SceneInformation
from .superresolve import Superresolve
from .train import Train
from .train_codec import TrainCodec
from .training_layer import CreateTrainingLayer
from .unmix import Unmix
from .where_to_draw import WhereToDraw

ALGORITHMS = (
    CreateTrainingLayer,
    PolygonsToMap,
    Train,
    Classify,
    ClassifyScenes,
    Evaluate,
    WhereToDraw,
    TrainObjects,
    ClassifyObjects,
    PretrainObjects,
    SceneInformation,
    CheckScene,
    Resample,
    ExportScene,
    CompressScene,
    DecompressScene,
    Features,
    Pretrain,
    CutPatches,
    TrainCodec,
    MeasureCodecs,
    ModelCard,
    Unmix,
    DetectAnomalies,
    DetectTarget,
    DetectChange,
    Denoise,
    Superresolve,
    Compare,
    CheckEngine,
)
