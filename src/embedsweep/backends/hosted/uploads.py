"""Training files at a provider: each is uploaded once, and found again by its content."""

from __future__ import annotations

from typing import Final

from embedsweep.backends.hosted.clock import Waits
from embedsweep.backends.hosted.provider import PAGE, Provider, ProviderFault
from embedsweep.backends.hosted.training_file import TrainingFile
from embedsweep.core.jobs import JobBook

_PURPOSE: Final = "fine-tune"
_UNUSABLE = ("error", "deleted")


class Uploads:
    """The files of one provider.

    Args:
        provider: Who keeps them.
        book: Remembers them for everybody.
    """

    def __init__(self, provider: Provider, book: JobBook) -> None:
        self._provider = provider
        self._book = book

    def file_id(self, file: TrainingFile) -> str:
        """The provider's name of the file, uploaded unless the provider has it.

        Raises:
            StoreError: It does not take the file.
            TrialFailure: It finds fault with the file.
        """
        action = f"to upload {file.name}"
        known = self._book.upload(self._provider.name, file.digest)
        try:
            if known is not None and self._is_there(known, file):
                return known
            file_id = self._listed(file) or self._uploaded(file)
        except ProviderFault as fault:
            raise fault.told(self._provider.name, action) from None
        self._book.uploaded(self._provider.name, file.digest, file_id)
        return file_id

    def _is_there(self, file_id: str, file: TrainingFile) -> bool:
        try:
            found = self._provider.patiently(
                lambda client: client.files.with_raw_response.retrieve(file_id)
            )
        except ProviderFault as fault:
            if fault.status in (400, 404, 410):
                return False
            raise
        return found.get("id") == file_id and _is_usable(found, file)

    def _listed(self, file: TrainingFile) -> str | None:
        """The file among those the provider lists; None too where it lists none."""
        pages = self._provider.pages(
            lambda client, after: client.files.with_raw_response.list(
                purpose=_PURPOSE, limit=PAGE, after=after
            )
        )
        try:
            for page in pages:
                for found in page:
                    file_id = found.get("id")
                    if (
                        isinstance(file_id, str)
                        and found.get("filename") == file.name
                        and _is_usable(found, file)
                    ):
                        return file_id
        except ProviderFault as fault:
            # Uploading a file a second time costs nothing; not to be allowed to ask does.
            if fault.status in (401, 403) or fault.status is None:
                raise
        return None

    def _uploaded(self, file: TrainingFile) -> str:
        """Upload, and after an unclear answer look before the next try."""
        waits = Waits(self._provider.clock, self._provider.patience)
        while True:
            try:
                found = self._provider.once(
                    lambda client: client.files.with_raw_response.create(
                        file=(file.name, file.content), purpose=_PURPOSE
                    )
                )
            except ProviderFault as fault:
                if not self._provider.wait_after(fault, waits):
                    raise
                if not fault.was_refused and (there := self._listed(file)) is not None:
                    return there
                continue
            if isinstance(file_id := found.get("id"), str) and file_id:
                return file_id
            raise ProviderFault("the reply names no file", 200)


def _is_usable(found: dict[str, object], file: TrainingFile) -> bool:
    size = found.get("bytes")
    return found.get("status") not in _UNUSABLE and size in (None, len(file.content))
