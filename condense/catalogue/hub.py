"""Stored sets in datasets repositories of the Hugging Face hub.

A repository holds the folder of one set. What is downloaded stays in ``$CONDENSE_HOME/hub``, a folder for
each revision, and needs no network again if the revision is named.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any

from condense.errors import Refused, Remedy, install
from condense.files import first_line, home, locked
from condense.store.manifest import CARD, DATA, GALLERY, MANIFEST
from condense.store.sealing import Verified

SCHEME = "hf://"
"""What the address of a set on the hub begins with: ``hf://user/name`` or ``hf://user/name@revision``."""
SHARDS = "replay-*.safetensors"
FILES = (MANIFEST, DATA, CARD, GALLERY, SHARDS)
"""The files of a set; whatever else a repository holds is left there."""
OF_THE_HUB = (".gitattributes", CARD)
"""Files of a repository in which nothing has been stored yet."""
_KIND = "dataset"
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True)
class Address:
    """Where a set is on the hub.

    Attributes:
        repo: Owner and name of the repository: ``user/name``.
        revision: A branch, a tag or the hash of a commit; None for the main branch.
    """

    repo: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Reads ``hf://user/name`` and ``hf://user/name@revision``.

        Raises:
            Refused: if the text is no such address.
        """
        found = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", text, flags=re.ASCII)
        if found is None or ".." in text:
            raise Refused(f"{text[:200]!r} is no address of a set on the hub, such as hf://user/name")
        return cls(found[1], found[2])

    def __str__(self) -> str:
        return f"{SCHEME}{self.repo}" + (f"@{self.revision}" if self.revision else "")


def fetch(address: str) -> Path:
    """Downloads a set from the hub, if it is not there yet, and returns its folder.

    Args:
        address: See `Address.parse`. A commit that was downloaded before is found without a network.

    Raises:
        Refused: if the address is none, the hub does not answer, there is no such repository or revision, or
            it holds no set. The files themselves are checked where the set is loaded.
    """
    at = Address.parse(address)
    if (known := _downloaded(at)) is not None:
        return known
    api = _api()
    with _in_a_sentence(at):
        info = api.dataset_info(at.repo, revision=at.revision, files_metadata=True)
    found = {file.rfilename: file.size or 0 for file in info.siblings or []}
    sizes = {name: size for name, size in found.items() if _is_of_a_set(name)}
    if missing := [name for name in (MANIFEST, DATA) if name not in sizes]:
        raise Refused(f"{at} holds no set of condense: there is no {missing[0]}")
    folder = _folder(at, info.sha)
    with locked(folder, what=f"downloads {at}"):
        if not folder.exists():
            print(f"downloads {sum(sizes.values())} bytes from {at}", file=sys.stderr, flush=True)
            part = folder.with_name(f".{folder.name}.download.part")
            with _in_a_sentence(at):
                api.snapshot_download(
                    at.repo, repo_type=_KIND, revision=info.sha, local_dir=part, allow_patterns=list(sizes)
                )
                shutil.rmtree(part / ".cache", ignore_errors=True)  # the library's notes
                part.rename(folder)
    return folder


def push(verified: Verified, folder: Path, repo: str, *, private: bool = False) -> str:
    """Uploads the folder of a stored set as one commit; the repository is made if there is none.

    Args:
        verified: What `condense.store.examine` said of the folder.
        folder: The folder.
        repo: Owner and name of the repository: ``user/name``.
        private: Whether a repository that is made here is private.

    Returns:
        The address of the set at this commit.

    Raises:
        Refused: if the hub does not answer or let the user write, or if the repository holds something other
            than a set.
    """
    at, api = Address.parse(f"{SCHEME}{repo.removeprefix(SCHEME)}"), _api()
    if at.revision is not None:
        raise Refused(f"{at}: a set is stored on the main branch, whose name is left out")
    with _in_a_sentence(at):
        api.create_repo(at.repo, repo_type=_KIND, private=private, exist_ok=True)
        there = [file.rfilename for file in api.dataset_info(at.repo).siblings or []]
    held = sorted(set(there) - set(OF_THE_HUB))
    strangers = [name for name in held if not _is_of_a_set(name)] or (held if MANIFEST not in held else [])
    if strangers:
        raise Refused(f"{at} holds {strangers[0]}, which is no part of a set")
    with _in_a_sentence(at):
        done = api.upload_folder(
            repo_id=at.repo, folder_path=folder, repo_type=_KIND, allow_patterns=list(FILES),
            delete_patterns=[SHARDS], commit_message=f"Set {verified.hash[:16]}",
        )  # fmt: skip
    return str(Address(at.repo, done.oid))


def _is_of_a_set(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in FILES) and "/" not in name


def _folder(at: Address, commit: str) -> Path:
    return home() / "hub" / f"{at.repo.replace('/', '--')}@{commit}"


def _downloaded(at: Address) -> Path | None:
    """Returns the folder of a commit that was downloaded before."""
    if at.revision is None or not _COMMIT.fullmatch(at.revision):
        return None
    place = _folder(at, at.revision)
    found = sorted(place.parent.glob(f"{place.name}*")) if place.parent.is_dir() else []
    return found[0] if len(found) == 1 else None


def _api() -> Any:
    """Returns the library's client of the hub, or of the one that ``$HF_ENDPOINT`` names."""
    try:
        return import_module("huggingface_hub").HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    except ImportError as error:
        raise Refused(
            f"sets on the hub are read and written by the library huggingface_hub: {install('hub')}"
        ) from error


@contextmanager
def _in_a_sentence(at: Address) -> Iterator[None]:
    """Turns whatever the hub or the library says into a refusal."""
    errors = import_module("huggingface_hub.errors")
    try:
        yield
    except errors.GatedRepoError as error:
        raise Refused(f"{at}: its owner lets only some users read it") from error
    except errors.RepositoryNotFoundError as error:
        reason = f"{at}: the hub knows no such repository of datasets, or does not let you see it"
        raise Refused(reason, remedies=[_LOG_IN]) from error
    except errors.RevisionNotFoundError as error:
        raise Refused(f"{at}: the repository has no such revision") from error
    except errors.LocalTokenNotFoundError as error:
        raise Refused(f"{at}: the hub wants to know who writes there", remedies=[_LOG_IN]) from error
    except errors.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        remedies = [_LOG_IN] if status in (401, 403) else []
        raise Refused(f"{at}: the hub refuses ({first_line(error)})", remedies=remedies) from error
    except (errors.HFValidationError, errors.HTTPError, OSError, EOFError) as error:
        raise Refused(f"{at}: nothing could be exchanged with the hub ({first_line(error)})") from error


_LOG_IN = Remedy(settings={}, effect="log in with `hf auth login`")
