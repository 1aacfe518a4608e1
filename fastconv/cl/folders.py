"""The user's own folders, where the platform has them."""
import os
import pathlib
import sys

_PLACES = {     # kind: (variable on Unix, folder on Unix, on macOS)
    "cache": ("XDG_CACHE_HOME", "~/.cache", "~/Library/Caches"),
    "config": ("XDG_CONFIG_HOME", "~/.config", "~/Library/Application Support"),
}


def user_folder(kind):
    """fastconv's folder for "cache" or "config" (which may not exist yet), or None for a user without a home."""
    variable, unix, mac = _PLACES[kind]
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = mac
    else:
        base = os.environ.get(variable) or ""
        base = base if os.path.isabs(base) else unix        # the XDG rules: relative ones do not count
    try:
        return pathlib.Path(base).expanduser() / "fastconv"
    except RuntimeError:
        return None
