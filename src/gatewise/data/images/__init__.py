"""Pictures, and sentences about them."""

from gatewise.data.images.caption_files import CaptionFiles
from gatewise.data.images.scenes import SceneCaptions

__all__ = ["CaptionFiles", "SceneCaptions"]
