"""Networks built with fastconv, and the command that trains them: `python -m models.train`."""
from .cnn import SimpleCNN
from .language_model import LanguageModel
from .mobilenet import MobileNetV2
from .resnet import ResNet18
from .resnet9 import ResNet9

__all__ = ["LanguageModel", "MobileNetV2", "ResNet18", "ResNet9", "SimpleCNN"]
