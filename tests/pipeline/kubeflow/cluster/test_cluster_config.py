"""The cluster file: the shipped one is valid, and values that a pod cannot use are rejected."""

from pathlib import Path

import pytest

from pipeline.kubeflow.cluster import cluster_config
from pipeline.settings.errors import ConfigError

FILE = r"kubeflow\.toml: "


def test_unset_keys_of_a_component_come_from_the_defaults() -> None:
    loaded = cluster_config.load(overrides=["components.Trainer.labels={a='b'}"])
    trainer, evaluator = loaded.task("Trainer"), loaded.task("Evaluator")
    assert (trainer.cpu_limit, trainer.memory_request, trainer.retries) == ("8", "1G", 2)
    assert trainer.labels == {"a": "b"}
    assert (evaluator.cpu_limit, evaluator.labels) == ("2", None)
    assert loaded.task("AnomalyGate").retries == 0


@pytest.mark.parametrize(
    ("name", "folder"),
    [("data", "/mnt/mnist-tfx/data"), ("/a/b", "/a/b"), ("gs://b/data", "gs://b/data")],
)
def test_a_folder_is_below_the_root_unless_it_is_absolute(name: str, folder: str) -> None:
    assert cluster_config.load().storage.folder(name) == folder


@pytest.mark.parametrize(
    "image",
    ["mnist-tfx", "registry.example:5000/team/mnist-tfx:1.0", f"ghcr.io/a/b@sha256:{'0f' * 32}"],
)
def test_valid_image_names_are_accepted(image: str) -> None:
    assert cluster_config.load(overrides=[f"image='{image}'"]).image == image


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("imge=x", r"--set kubeflow.imge: unknown key; did you mean kubeflow.image\?"),
        ("image='My Image'", "--set kubeflow.image: 'My Image': expected an image such as"),
        ("image='a@sha256:12'", "expected an image such as"),
        ("namespace=Team_A", "--set kubeflow.namespace: 'Team_A': expected a Kubernetes name"),
        ("service_account='a b'", "--set kubeflow.service_account: 'a b': expected a Kubernetes"),
        ("labels={'a b'='c'}", "--set kubeflow.labels: 'a b': expected a Kubernetes label's key"),
        ("labels={a='b c'}", "--set kubeflow.labels: 'b c': expected a Kubernetes label's value"),
        ("defaults.cpu_limit='two'", "--set kubeflow.defaults.cpu_limit: 'two': expected a numb"),
        ("defaults.memory_limit=4GB", "'4GB': expected an amount of memory such as"),
        ("image='a:b:c'", "'a:b:c': expected an image such as"),
        ("env={METADATA_HOST='x'}", "'METADATA_HOST': expected another name"),
        ("secrets=[{name='a', env={k='METADATA_PASSWORD'}}]", "expected another name"),
        (
            "secrets=[{name='a', mount_path='/mnt'}]",
            FILE + "the secret a at /mnt would hide the storage",
        ),
        (
            "components.Trainer.cpu_request='16'",
            FILE + "Trainer: cpu_request is 16, above cpu_limit, 8",
        ),
        (
            "defaults.memory_request='4Gi'",
            FILE + "defaults: memory_request is 4Gi, above memory_limit, 4G",
        ),
        ("storage.root='/app'", "--set kubeflow.storage.root: root is /app, which would hide"),
        ("storage.data='s3://b/a'", "'s3://b/a': expected a folder, or gs://bucket/path"),
        (
            "storage.data='/other'",
            "--set kubeflow.storage.data: data is /other, which is not below root",
        ),
        ("storage={root='gs://b', data='/d'}", "data is /d, which is not below root, gs://b"),
        ("defaults.retry_pause_s=3600", "retry_pause_s: 3600: the maximum is"),
        (
            "sever.host='http://a'",
            r"sever.host: unknown key; did you mean kubeflow.server\?",
        ),
        ("components.Trainr.retries=1", "'Trainr': expected a component: IdxExampleGen, "),
        (
            "components.Evaluator.accelerator_count=1",
            "Evaluator: accelerator_count requires accelerator",
        ),
        ("defaults.retries=-1", "--set kubeflow.defaults.retries: -1: the minimum is"),
        ("defaults.timeout_s=0", "--set kubeflow.defaults.timeout_s: 0: the minimum is"),
        ("components.Trainer.accelerator=gpu", "'gpu': expected a resource such as nvidia.com"),
        (
            "components.Trainer.gpus=1",
            "unknown key; the known keys are accelerator, accelerator_count",
        ),
        (
            "defaults.tolerations=[{operator='Exists', value='x'}]",
            r"--set kubeflow.defaults.tolerations\[0\]: operator Exists does not take a value",
        ),
        ("defaults.tolerations=[{}]", r"tolerations\[0\]: operator must be Exists if key is empty"),
        ("defaults.tolerations=[{key='a', seconds=3}]", "seconds requires the effect NoExecute"),
        (
            "defaults.tolerations=[{ky='a'}]",
            r"ky: unknown key; did you mean kubeflow.defaults.tolerations\[0\].key",
        ),
        ("storage.root='s3://bucket/a'", "'s3://bucket/a': expected /a/path or gs://bucket/path"),
        (
            "storage.root='gs://bucket/a'",
            "kubeflow.storage.root: pvc is mnist-tfx, but root is a b",
        ),
        (
            "storage.pvc=''",
            "kubeflow.storage.pvc: root is /mnt/mnist-tfx, a path; set",
        ),
        (
            "metadata.store=sqlite",
            "--set kubeflow.metadata.store: 'sqlite': expected 'mysql' or 'grpc'",
        ),
        (
            "metadata.hst=db",
            r"metadata.hst: unknown key; did you mean kubeflow.metadata.host\?",
        ),
        ("metadata.port=0", "--set kubeflow.metadata.port: 0: the minimum is"),
        ("secrets=[{name='a'}]", r"secrets\[0\]: the secret a requires either env or mount_path"),
        ("secrets=[{name='a', env={k='A-B'}}]", "'A-B': expected the name of an environment var"),
        ("schedule.cron='0 3 * * *'", "'0 3 \\* \\* \\*': expected six fields, seconds first"),
        ("schedule.max_concurrency=11", "schedule.max_concurrency: 11: the maximum is"),
        ("server.host='localhost:8080'", "'localhost:8080': expected a URL: http://"),
        ("server.token_env='my token'", "'my token': expected the name of an environment variab"),
    ],
)
def test_a_mistake_is_reported_in_one_sentence_before_submission(
    override: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        cluster_config.load(overrides=[override])
    assert len(str(raised.value).splitlines()) == 1


def test_a_cluster_file_may_extend_the_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'extends = "kubeflow"\nnamespace = "team-a"\n[components.Trainer]\nretries = 5\n'
        '[metadata]\nstore = "grpc"\nhost = "store"\n'
    )
    loaded, shipped = cluster_config.load(path), cluster_config.load()
    assert (loaded.namespace, loaded.image) == ("team-a", shipped.image)
    assert loaded.task("Trainer").retries == 5
    assert loaded.task("Trainer").cpu_limit == shipped.task("Trainer").cpu_limit
    assert loaded.task("AnomalyGate").retries == 0
    assert loaded.metadata.store == "grpc", "its keys depend on the store: replaced as a whole"
