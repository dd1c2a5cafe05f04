"""Submits and schedules runs on Kubeflow Pipelines, through kfp.Client. Independent of TFX.

Errors are `ClusterError`s; see `connection.py`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import kfp_server_api
from kfp_server_api import V2beta1RecurringRun as RecurringRun
from kfp_server_api import V2beta1Run as Run

from pipeline.kubeflow.cluster.cluster_config import ScheduleConfig
from pipeline.kubeflow.compiled_pipeline import CompiledPipeline
from pipeline.kubeflow.connection import Connection, output_suppressed
from pipeline.settings.errors import ClusterError

PAGE_SIZE: Final = 100


class SubmittedRun(NamedTuple):
    """A run on the server."""

    run_id: str
    url: str
    """The run's page in the UI."""


class KubeflowClient:
    """The requests of one user to one server; the errors are those of `Connection`."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._client = connection.client
        self._cluster = connection.cluster

    def submit(
        self, pipeline: CompiledPipeline, run_name: str, parameters: Mapping[str, Any]
    ) -> SubmittedRun:
        """Starts a run; creates the experiment, the pipeline and its version if they are missing.

        Args:
          pipeline: the pipeline to run.
          run_name: the display name of the run.
          parameters: values of the pipeline's parameters.
        """
        with self._connection.translated_errors(), output_suppressed():
            experiment = self._experiment()
            pipeline_id, version_id = self._upload(pipeline)
            run = self._client.run_pipeline(
                experiment_id=experiment,
                job_name=run_name,
                params=dict(parameters),
                pipeline_id=pipeline_id,
                version_id=version_id,
                service_account=self._cluster.service_account or None,
            )
        self._connection.check_answer(run.run_id)
        return SubmittedRun(run.run_id, self._connection.page(f"runs/details/{run.run_id}"))

    def newest_runs(self, count: int) -> list[Run]:
        """The newest runs in the namespace, the newest first."""
        with self._connection.translated_errors():
            page = self._client.list_runs(
                page_size=count,
                sort_by="created_at desc",
                namespace=self._connection.namespace,
            )
        return list(page.runs or [])

    def create_schedule(
        self,
        pipeline: CompiledPipeline,
        name: str,
        schedule: ScheduleConfig,
        parameters: Mapping[str, Any],
    ) -> str:
        """Starts a recurring run, and returns its id; the arguments are those of `submit`.

        Raises:
          ClusterError: a schedule with that name exists.
        """
        if any(found.display_name == name for found in self.schedules()):
            raise ClusterError(
                f"the schedule {name} exists; delete it with `mnist-tfx schedule delete {name}`, "
                "or choose another --name."
            )
        with self._connection.translated_errors(), output_suppressed():
            pipeline_id, version_id = self._upload(pipeline)
            created: RecurringRun = self._client.create_recurring_run(
                experiment_id=self._experiment(),
                job_name=name,
                description=f"version {pipeline.version}",
                cron_expression=schedule.cron,
                max_concurrency=schedule.max_concurrency,
                no_catchup=not schedule.catch_up,
                params=dict(parameters),
                pipeline_id=pipeline_id,
                version_id=version_id,
                service_account=self._cluster.service_account or None,
            )
        return str(created.recurring_run_id)

    def schedules(self) -> list[RecurringRun]:
        """The recurring runs in the namespace, the newest first."""
        found: list[RecurringRun] = []
        token = ""
        while True:
            with self._connection.translated_errors():
                page = self._client.list_recurring_runs(
                    page_token=token,
                    page_size=PAGE_SIZE,
                    sort_by="created_at desc",
                    namespace=self._connection.namespace,
                )
            found += page.recurring_runs or []
            token = page.next_page_token
            if not token:
                return found

    def pause_schedule(self, name: str) -> None:
        """Pauses a schedule, given by its name or id: it starts no runs until it is resumed."""
        schedule = self._find_schedule(name)
        with self._connection.translated_errors():
            self._client.disable_recurring_run(schedule.recurring_run_id)

    def resume_schedule(self, name: str) -> None:
        """Resumes a paused schedule, given by its name or id."""
        schedule = self._find_schedule(name)
        with self._connection.translated_errors():
            self._client.enable_recurring_run(schedule.recurring_run_id)

    def delete_schedule(self, name: str) -> None:
        """Deletes a schedule, given by its name or id; runs that it started continue."""
        schedule = self._find_schedule(name)
        with self._connection.translated_errors():
            self._client.delete_recurring_run(schedule.recurring_run_id)

    def _experiment(self) -> str:
        experiment = self._client.create_experiment(
            self._cluster.experiment, namespace=self._connection.namespace
        )
        return str(experiment.experiment_id)

    def _upload(self, pipeline: CompiledPipeline) -> tuple[str, str]:
        """The ids of the pipeline and of the version; both are created if they are missing."""
        name, version = pipeline.name, pipeline.version
        listed = self._client.list_pipelines(
            filter=_named(name), namespace=self._connection.namespace
        )
        if listed.pipelines:
            pipeline_id = listed.pipelines[0].pipeline_id
        else:
            created = self._client.pipelines.pipeline_service_create_pipeline(
                kfp_server_api.V2beta1Pipeline(
                    display_name=name, namespace=self._connection.namespace
                )
            )
            pipeline_id = created.pipeline_id
        versions = self._client.list_pipeline_versions(pipeline_id, filter=_named(version))
        if versions.pipeline_versions:
            return pipeline_id, versions.pipeline_versions[0].pipeline_version_id
        with tempfile.TemporaryDirectory(prefix="upload-") as folder:
            path = Path(folder) / f"{name}.yaml"
            path.write_text(pipeline.yaml, encoding="utf-8")
            uploaded = self._client.upload_pipeline_version(
                str(path), pipeline_version_name=version, pipeline_id=pipeline_id
            )
        return pipeline_id, uploaded.pipeline_version_id

    def _find_schedule(self, name: str) -> RecurringRun:
        found = [s for s in self.schedules() if name in (s.display_name, s.recurring_run_id)]
        if not found:
            raise ClusterError(
                f"the schedule {name} does not exist; `mnist-tfx schedule list` shows all."
            )
        if len(found) > 1:
            ids = ", ".join(s.recurring_run_id for s in found)
            raise ClusterError(
                f"{len(found)} schedules are named {name}; give one of the ids {ids}."
            )
        return found[0]


def _named(name: str) -> str:
    """KFP's filter by display name."""
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    return json.dumps({"predicates": [predicate]})
