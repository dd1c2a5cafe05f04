"""What was pushed to each version's folder, from ML Metadata: to find damaged versions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from components.names import artifact_properties as properties
from pipeline.runs.lineage import Lineage
from pipeline.runs.workspace import Workspace
from serving import version_folders


@dataclass
class Push:
    """The model that was pushed as one version."""

    digest: str
    """Of the version's files, see `version_folders.digest`."""

    copies: list[Path] = field(default_factory=list)
    """The folders of the PushedModel artifacts, which contain the same files."""

    def is_in(self, folder: Path) -> bool:
        """Whether a folder contains the files that were pushed, unchanged."""
        return folder.is_dir() and version_folders.digest(folder) == self.digest

    def intact_copy(self) -> Path | None:
        """A copy of the files that is unchanged."""
        return next(filter(self.is_in, self.copies), None)


def find(workspace: Workspace) -> dict[str, Push]:
    """The pushes by the version's folder, as it is named while the version is not withdrawn.

    Raises:
      PipelineError: the metadata is damaged.
    """
    lineage = Lineage.of_workspace(workspace)
    found: dict[str, Push] = {}
    for artifact in lineage.artifacts("PushedModel") if lineage else []:
        recorded = artifact.custom_properties
        if digest := recorded[properties.PUSHED_DIGEST].string_value:
            place = recorded[properties.PUSHED_DESTINATION].string_value
            if place not in found or found[place].digest != digest:  # the newest push counts
                found[place] = Push(digest)
            found[place].copies.append(Path(artifact.uri))
    return found
