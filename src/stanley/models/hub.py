"""Packed models to and from the Hugging Face Hub, through huggingface_hub: the extra `hub`.

Only the model and its card travel, and what arrives is read and checked before it gets its place.
Who may write where is between huggingface_hub and its own login; nothing here knows a token.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stanley.errors import StanleyError, require
from stanley.files import make_folder, write_atomic
from stanley.models.packed import CARD, MODEL, read_packed
from stanley.overwriting import keep_former


def push(folder: str | os.PathLike[str], repo: str, *, private: bool = False) -> str:
    """Upload a packed folder to the repository OWNER/NAME, which is made if it is not there;
    returns its address.
    """
    hub = huggingface_hub()
    read_packed(folder)
    with hub_errors(f"cannot push {folder} to {repo}"):
        api = hub.HfApi()
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=str(folder), allow_patterns=[MODEL, CARD])
    return str(address)


def pull(repo: str, out: str | os.PathLike[str], *, revision: str | None = None) -> Path:
    """The packed model of a repository, checked, as the folder `out`; `revision` is a branch, tag
    or commit.

    Another model that is in the folder is kept as model-former.safetensors.
    """
    hub = huggingface_hub()
    folder = Path(out)
    require(not folder.exists() or folder.is_dir(), f"{folder} is no folder; choose another --out")
    with hub_errors(f"cannot pull {repo}"):
        paths = {
            name: Path(hub.hf_hub_download(repo, name, revision=revision)) for name in (MODEL, CARD)
        }
    read_packed(paths[MODEL].parent)  # both are files of one snapshot
    try:
        contents = {name: path.read_bytes() for name, path in paths.items()}
    except OSError as error:
        raise StanleyError(
            f"cannot read {error.filename}: {error.strerror or error}; pull it again"
        ) from error
    make_folder(folder)
    another = [folder / name for name in contents if other_content(folder / name, contents[name])]
    if another:
        keep_former([folder / name for name in contents], f"not the model of {repo}")
    for name, content in contents.items():
        write_atomic(folder / name, content)
    return folder


def other_content(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() != content


def huggingface_hub() -> Any:
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise StanleyError(
            "push and pull need huggingface_hub; pip install 'stanley[hub]'"
        ) from error
    return hub


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Whatever goes wrong between here and the hub, in one line."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # of whichever client it uses
    http = [kind for kind in HfHubHTTPError.__bases__ if kind is not Exception]
    try:
        yield
    except (OSError, HFValidationError, *http) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StanleyError(
            f"{what}: {reason[:300]}; see that the name is OWNER/NAME, and hf auth login"
        ) from error
