"""What a user can ask for: one frozen dataclass a task, in the order help texts list them."""

from typing import Dict, Type

from .anomalies import Anomalies
from .base import Parameter, Task
from .card import Card
from .change import Change
from .classify import Classify
from .compare import Compare
from .demo import Demo
from .denoise import Denoise
from .doctor import Doctor
from .draw_next import DrawNext
from .evaluate import Evaluate
from .features import Features
from .info import Info
from .map import Map
from .pretrain import Pretrain
from .superresolve import Superresolve
from .target import Target
from .train import Train
from .unmix import Unmix

TASKS: Dict[str, Type[Task]] = {
    task.name: task
    for task in (
        Info,
        Features,
        Map,
        Train,
        Classify,
        Evaluate,
        DrawNext,
        Pretrain,
        Card,
        Anomalies,
        Target,
        Unmix,
        Change,
        Denoise,
        Superresolve,
        Compare,
        Demo,
        Doctor,
    )
}

__all__ = ["TASKS", "Parameter", "Task"]
