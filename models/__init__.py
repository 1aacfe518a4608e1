"""Networks built with fastconv, and the command that trains them: `python -m models.train`."""
from .cnn import SimpleCNN
from .resnet9 import ResNet9

__all__ = ["ResNet9", "SimpleCNN"]
