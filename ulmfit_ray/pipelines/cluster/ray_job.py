"""The RayJob itself, as the tables of KubeRay's version v1.

The pods run as nobody in particular, the cluster demands a token, and the head has no CPU for tasks: one that takes the
head's memory would end the job. Groups of workers start at zero and grow as the job asks.
"""

import importlib.metadata
from typing import Any

import yaml

from ulmfit_ray.pipelines.cluster.manifest_config import LABEL, VOLUME, Kubernetes

Table = dict[str, Any]
LABELS = {"app.kubernetes.io/part-of": "ulmfit-ray"}
"""What cluster/kuberay/networkpolicy.yaml knows our pods by."""
HEADER = "# A RayJob for KubeRay 1.5.1 or later, printed by `ulmfit-ray manifest`: see cluster/README.md.\n"
IDLE_SECONDS = 120
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "fsGroup": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


class _Dumper(yaml.SafeDumper):
    """Writes what occurs twice twice, without the anchors that few people can read."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def as_yaml(content: Table) -> str:
    """Return the manifest's text."""
    return HEADER + yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=10**6)


def ray_job(kubernetes: Kubernetes, *, name: str, entrypoint: str, with_gpus: bool, is_on_ray: bool) -> Table:
    """Return the RayJob that runs a command.

    A verb that is not on Ray runs in a CPU pod of its own, whole, and not on the head.
    """
    queue = {"kueue.x-k8s.io/queue-name": kubernetes.queue} if kubernetes.queue else {}
    metadata: Table = {"name": name, "labels": LABELS | queue}
    if kubernetes.namespace:
        metadata["namespace"] = kubernetes.namespace
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": metadata,
        "spec": {
            "entrypoint": entrypoint,
            **({} if is_on_ray else {"entrypointNumCpus": kubernetes.cpu.cpus}),
            "suspend": kubernetes.suspend or kubernetes.queue is not None,
            "backoffLimit": kubernetes.retries,
            "activeDeadlineSeconds": kubernetes.deadline_seconds,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": kubernetes.ttl_seconds,
            "submitterPodTemplate": _submitter(kubernetes),
            "rayClusterSpec": _cluster(kubernetes, with_gpus=with_gpus),
        },
    }


def _cluster(kubernetes: Kubernetes, *, with_gpus: bool) -> Table:
    # Kueue refuses clusters that change their size.
    is_growing = kubernetes.queue is None
    autoscaler = {
        "upscalingMode": "Default",
        "idleTimeoutSeconds": IDLE_SECONDS,
        "resources": _resources("500m", "512Mi"),
        "securityContext": CONTAINER_SECURITY,
    }
    groups = [_group(kubernetes, "cpu", starts_at_zero=is_growing)]
    if with_gpus:
        groups.append(_group(kubernetes, "gpu", starts_at_zero=is_growing))
    return {
        "rayVersion": importlib.metadata.version("ray"),
        # The operator makes a token, keeps it in a secret, and gives it to every pod.
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": is_growing,
        **({"autoscalerOptions": autoscaler} if is_growing else {}),
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},
            "template": _pod(
                kubernetes, "ray-head", kubernetes.image, _resources(str(kubernetes.head.cpus), kubernetes.head.memory)
            ),
        },
        "workerGroupSpecs": groups,
    }


def _group(kubernetes: Kubernetes, kind: str, *, starts_at_zero: bool) -> Table:
    pods = getattr(kubernetes, kind)
    resources, image = _resources(str(pods.cpus), pods.memory), kubernetes.image
    tolerations: list[Table] = []
    spec: Table = {}
    if kubernetes.spot and (label := LABEL.fullmatch(kubernetes.spot)):
        spec["nodeSelector"] = {label["key"]: label["value"]}
        tolerations.append(label.groupdict() | {"operator": "Equal", "effect": "NoSchedule"})
    if kind == "gpu":
        image = pods.image or image
        resources = {name: sizes | {"nvidia.com/gpu": str(pods.gpus)} for name, sizes in resources.items()}
        tolerations.append({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"})
    if tolerations:
        spec["tolerations"] = tolerations
    template = _pod(kubernetes, "ray-worker", image, resources)
    template["spec"] |= {"automountServiceAccountToken": False} | spec
    least = 0 if starts_at_zero else pods.max
    return {
        "groupName": kind,
        "minReplicas": least,
        "replicas": least,
        "maxReplicas": pods.max,
        "rayStartParams": {},
        "template": template,
    }


def _submitter(kubernetes: Kubernetes) -> Table:
    """Return the pod that hands the entrypoint to the head and shows its log; it needs no credentials."""
    resources = {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    container = _container("ray-job-submitter", kubernetes.image, resources)
    spec = {"restartPolicy": "Never", "securityContext": POD_SECURITY, "containers": [container]}
    return {"metadata": {"labels": LABELS}, "spec": _pull_secrets(kubernetes) | spec}


def _pod(kubernetes: Kubernetes, name: str, image: str | None, resources: Table) -> Table:
    container = _container(name, image, resources)
    spec: Table = _pull_secrets(kubernetes) | {"securityContext": POD_SECURITY, "containers": [container]}
    if kubernetes.secret:
        container["envFrom"] = [{"secretRef": {"name": secret}} for secret in kubernetes.secret]
    if kubernetes.service_account:
        spec["serviceAccountName"] = kubernetes.service_account
    volumes = [match for match in map(VOLUME.fullmatch, kubernetes.volume) if match]
    if volumes:
        container["volumeMounts"] = [{"name": volume["claim"], "mountPath": volume["path"]} for volume in volumes]
        claims = dict.fromkeys(volume["claim"] for volume in volumes)
        spec["volumes"] = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims]
    return {"metadata": {"labels": LABELS}, "spec": spec}


def _container(name: str, image: str | None, resources: Table) -> Table:
    return {"name": name, "image": image, "securityContext": CONTAINER_SECURITY, "resources": resources}


def _pull_secrets(kubernetes: Kubernetes) -> Table:
    return {"imagePullSecrets": [{"name": kubernetes.pull_secret}]} if kubernetes.pull_secret else {}


def _resources(cpu: str, memory: str) -> Table:
    """Return requests that are the limits: a pod that lives on what others leave is ended first."""
    return {kind: {"cpu": cpu, "memory": memory} for kind in ("requests", "limits")}
