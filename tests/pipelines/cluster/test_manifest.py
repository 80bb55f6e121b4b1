"""`manifest VERB`: what it prints, and what it refuses because it would fail, or wait for ever, in the cluster."""

import shlex
from typing import Any

import pytest
import yaml
from command_line import Command

from ulmfit_ray.cli import VERBS, _named
from ulmfit_ray.config import ConfigError, parse_config
from ulmfit_ray.pipelines.cluster.manifest import run
from ulmfit_ray.pipelines.cluster.manifest_config import CpuPods, GpuPods, Kubernetes, ManifestConfig
from ulmfit_ray.pipelines.encode.config import EmbedConfig
from ulmfit_ray.pipelines.options import Actors, RayOptions, Scaling
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig, TokenizerOptions
from ulmfit_ray.pipelines.train.config import FinetuneConfig, PretrainConfig

IMAGE = "registry/ours:1"
IN_AND_OUT: dict[str, Any] = {"input": ("s3://b/in",), "output": "s3://b/out"}
TOKENIZE = TokenizeConfig(**IN_AND_OUT)


def pretrain(**scaling: Any) -> PretrainConfig:
    return PretrainConfig(tokens="s3://b/t", output="s3://b/lm", scaling=Scaling(**scaling))


def embed(**actors: Any) -> EmbedConfig:
    return EmbedConfig(model=("s3://b/lm",), **IN_AND_OUT, actors=Actors(**actors))


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that prints a verb's RayJob and reads it again."""

    def manifest(verb: str, config: Any, **options: Any) -> dict[str, Any]:
        run(ManifestConfig(kubernetes=Kubernetes(image=IMAGE, **options)), verb, config)
        return yaml.safe_load(capsys.readouterr().out)

    return manifest


def groups(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {group["groupName"]: group for group in content["spec"]["rayClusterSpec"]["workerGroupSpecs"]}


def test_the_entrypoint_gives_the_same_config_again_whatever_a_shell_makes_of_its_words(command: Command) -> None:
    hostile = ["--input", "s3://b/a b/*.gz", "s3://b/$HOME;x#'\"", "--output", "s3://b/(out)", "--delimiter", "\\t"]
    hostile += ["--format", "csv", "--text-columns", "the title", "text"]
    outcome = command("manifest", "tokenize", *hostile, "--kubernetes.image", IMAGE)
    words = shlex.split(yaml.safe_load(outcome.out)["spec"]["entrypoint"])
    assert words[:4] == ["python", "-m", "ulmfit_ray.cli", "tokenize"]
    config_class = _named(VERBS["tokenize"].config)
    assert parse_config(config_class, words[4:], "") == parse_config(config_class, hostile, "")


def test_a_sweep_is_named_after_both_its_words(command: Command) -> None:
    arguments = ["--tokens", "s3://b/t", "--output", "s3://b/o", "--grid", "training.num_epochs=1,2"]
    outcome = command("manifest", "sweep", "pretrain", *arguments, "--kubernetes.image", IMAGE)
    content = yaml.safe_load(outcome.out)
    assert content["metadata"]["name"] == "sweep-pretrain"
    assert content["spec"]["entrypoint"].startswith("python -m ulmfit_ray.cli sweep pretrain ")


@pytest.mark.parametrize(
    ("verb", "config"),
    [
        ("embed", embed(num_gpus=0.5)),
        ("pretrain", pretrain(use_gpu=True)),
        ("finetune", FinetuneConfig(model="s3://m", tokens="s3://t", output="s3://o", scaling=Scaling(use_gpu=True))),
    ],
)
def test_a_verb_that_asks_for_gpus_gets_pods_that_have_them(printed: Any, verb: str, config: Any) -> None:
    limits = groups(printed(verb, config))["gpu"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize(("verb", "config"), [("tokenize", TOKENIZE), ("pretrain", pretrain()), ("embed", embed())])
def test_a_verb_that_asks_for_none_gets_none(printed: Any, verb: str, config: Any) -> None:
    assert set(groups(printed(verb, config))) == {"cpu"}


@pytest.mark.parametrize(("num_workers", "num_cpus"), [(1, 8), (10, 8), (11, 4), (20, 4), (80, 1)])
def test_the_cores_of_a_worker_are_chosen_so_that_all_fit(printed: Any, num_workers: int, num_cpus: int) -> None:
    content = printed("pretrain", pretrain(num_workers=num_workers), cpu=CpuPods(cpus=8, max=10))
    assert content["spec"]["entrypoint"].endswith(f"--scaling.num-cpus {num_cpus}")


def test_a_verb_without_ray_runs_in_a_pod_for_work_and_not_on_the_head(command: Command, printed: Any) -> None:
    outcome = command("manifest", "verify", "s3://b/out", "--kubernetes.image", IMAGE)
    assert yaml.safe_load(outcome.out)["spec"]["entrypointNumCpus"] == 8
    assert "entrypointNumCpus" not in printed("tokenize", TOKENIZE)["spec"]


def test_kueue_gets_a_cluster_that_keeps_its_size(printed: Any) -> None:
    content = printed("tokenize", TOKENIZE, queue="night", cpu=CpuPods(max=7))
    assert content["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "night"
    assert content["spec"]["suspend"] is True
    assert content["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] is False
    group = groups(content)["cpu"]
    assert [group[name] for name in ("minReplicas", "replicas", "maxReplicas")] == [7, 7, 7]


def test_paths_in_a_volume_that_all_pods_share_are_taken(printed: Any) -> None:
    config = TokenizeConfig(input=("/data/in",), output="file:///data/out")
    pod = groups(printed("tokenize", config, volume=("corpus:/data",)))["cpu"]["template"]["spec"]
    assert pod["volumes"] == [{"name": "corpus", "persistentVolumeClaim": {"claimName": "corpus"}}]
    assert pod["containers"][0]["volumeMounts"] == [{"name": "corpus", "mountPath": "/data"}]
    with pytest.raises(ConfigError, match="--input /data/in is a path of one machine"):
        printed("tokenize", config, volume=("corpus:/dat",))


@pytest.mark.parametrize(
    ("verb", "config", "said"),
    [
        ("tokenize", TokenizeConfig(input=("/data/in",), output="s3://b/o"), "--kubernetes.volume CLAIM:/data"),
        (
            "tokenize",
            TokenizeConfig(**IN_AND_OUT, tokenizer=TokenizerOptions(kind="sentencepiece", model="/m")),
            "--tokenizer.model /m",
        ),
        ("tokenize", TokenizeConfig(**IN_AND_OUT, overwrite=True), "would delete"),
        ("tokenize", TokenizeConfig(**IN_AND_OUT, dry_run=True), "without `manifest`"),
        ("tokenize", TokenizeConfig(**IN_AND_OUT, ray=RayOptions(address="auto")), "ulmfit-ray submit"),
        ("pretrain", pretrain(num_workers=5, use_gpu=True), "--kubernetes.gpu.max"),
        ("pretrain", pretrain(num_cpus=9), "--kubernetes.cpu.max"),
        ("embed", embed(num_gpus=2.0), "--kubernetes.gpu.max"),
        ("embed", embed(num_gpus=0.3, min=13), "4 pods have room for 3 each"),
    ],
)
def test_what_would_not_work_in_the_cluster_is_refused(printed: Any, verb: str, config: Any, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        printed(verb, config)
    assert said in str(refused.value)


def test_a_fraction_of_a_gpu_is_a_part_of_one(printed: Any) -> None:
    printed("embed", embed(num_gpus=0.5, min=16, max=16), gpu=GpuPods(gpus=2))
    with pytest.raises(ConfigError, match="room for 2 each"):
        printed("embed", embed(num_gpus=0.6, min=9), gpu=GpuPods(gpus=2))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "Mine"}, "lower case"),
        ({"name": "a" * 48}, "47 characters"),
        ({"volume": ("/data",)}, "corpus:/data"),
        ({"spot": "spot"}, "LABEL=VALUE"),
        ({"retries": -1}, "--kubernetes.retries must be at least 0"),
        ({"deadline_seconds": 0}, "--kubernetes.deadline-seconds must be at least 1"),
    ],
)
def test_options_that_kubernetes_would_not_take_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Kubernetes(**options)
    assert said in str(refused.value)


def test_a_size_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="memory much is no size"):
        CpuPods(memory="much")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--input", "s3://b/in", "--output", "s3://b/o"], "--kubernetes.image"),
        (["--input", "corpus", "--output", "s3://b/o"], "--input corpus is relative"),
        (["--input", "s3://b/in", "--output", "~/o"], "--output ~/o is in a home folder"),
        (["--input", "s3://me:hush@b/in", "--output", "s3://b/o"], "a user, a password or a key in a URI"),
    ],
)
def test_a_refusal_is_one_line_without_passwords(command: Command, arguments: list[str], said: str) -> None:
    outcome = command("manifest", "tokenize", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert said in outcome.err
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert "hush" not in outcome.err
