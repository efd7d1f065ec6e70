"""The fingerprint of a measurement: what must match for two to be compared, and what is reported when it differs."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_vllmperf import __version__
from pytest_vllmperf.engines.backends import Backend
from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.models import resolve
from pytest_vllmperf.models.adapters import adapter_digest
from pytest_vllmperf.models.checkpoint import model_files
from pytest_vllmperf.records.adapters import adapters
from pytest_vllmperf.records.engine import EngineFacts
from pytest_vllmperf.records.home import home, without_home
from pytest_vllmperf.records.host import HostUse, host_words
from pytest_vllmperf.records.masking import masked_text
from pytest_vllmperf.records.samples import ADAPTER, MODEL_FILES, MODEL_NAME, Environment
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.records.variables import Variables, VariablesKey
from pytest_vllmperf.storage.names import slug
from pytest_vllmperf.workload import Workload

_WORK_KEYS = ("backend", "model", "workload", "promise", "search")
"""Hard keys that say what was measured; all others say on which hardware."""

# Instruction sets that decide which kernels vLLM's CPU build runs.
_ISA_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "asimd", "sve", "bf16")
_COMMIT = re.compile("[0-9a-f]{40}")


def fingerprint(
    target: Target,
    workload: Workload,
    facts: EngineFacts,
    gpus: Sequence[GpuDevice],
    model_digest: str,
    key: VariablesKey | None = None,
    hosts: Sequence[HostUse | None] = (),
) -> Environment:
    """Hard keys (another machine, another model, other work), soft keys (versions, engine arguments) and variables.

    Engine arguments, vLLM's version and the driver are soft on purpose: changing one of them and seeing what it
    costs is what a baseline is for.

    Args:
        target: the engine.
        workload: what was sent.
        facts: what the engine told of itself.
        gpus: that it ran on.
        model_digest: of `model_digest`. A hub name gets the commit of its snapshot here, as the engine has fetched it
            by now.
        key: of the hashes of variables; None for names alone.
        hosts: what the machine did in each measured iteration.
    """
    hard = _hard_keys(target, workload, facts, gpus, model_digest)
    soft = _soft_keys(target.spec, facts, gpus)
    if target.backend.on_hardware:
        soft |= host_words(hosts)
    return Environment(
        hard=dict(sorted(hard.items())),
        soft=dict(sorted(soft.items())),
        variables=Variables.of(dict(target.spec.env), key),
    )


def hardware(hard: Mapping[str, str]) -> dict[str, str]:
    """What hard keys say of the hardware; two environments that agree in it are of one profile."""
    return {key: value for key, value in hard.items() if key not in _WORK_KEYS and not key.startswith(ADAPTER)}


def profile_of(hard: Mapping[str, str]) -> str:
    """The name of the profile that an environment with these hard keys is of, see `profile`.

    Imported reports do not tell their hardware; there it is what the user called it.
    """
    if "profile" in hard:
        return hard["profile"]
    if "gpu" in hard:
        return _gpu_profile(hard["gpu"].split(", "))
    if "cpu" in hard:
        return _cpu_profile(hard["cpu"], hard.get("cpu cores", ""))
    return slug(_elsewhere(hard.get("backend", ""), hard.get("endpoint", "")))


def _hard_keys(
    target: Target, workload: Workload, facts: EngineFacts, gpus: Sequence[GpuDevice], model_digest: str
) -> dict[str, str]:
    spec = target.spec
    return {
        "backend": spec.backend,
        "device": boundary(target.backend, facts),
        "model": _shareable(_with_commit(spec) if model_digest == spec.model else model_digest),
        "workload": workload.key,
        **_adapter_keys(spec, workload),
        **_where_keys(target.backend, facts, gpus),
    }


def _adapter_keys(spec: EngineSpec, workload: Workload) -> dict[str, str]:
    """What the adapters hold that the workload asks for; one that lies elsewhere stands for itself."""
    known = adapters(spec.args)
    asked = {name: known[name] for name in workload.named_models if name in known}
    return {f"{ADAPTER} {name}": adapter_digest(path) or _shareable(path) for name, path in asked.items()}


def boundary(backend: Backend, facts: EngineFacts) -> str:
    """Where the figures of an engine are taken: on a device in process, or behind a socket, which never compare."""
    return f"{facts.device}, served" if backend.over_http and backend.on_hardware else facts.device


def _where_keys(backend: Backend, facts: EngineFacts, gpus: Sequence[GpuDevice]) -> dict[str, str]:
    if backend.on_hardware:
        return _hardware_keys(facts, gpus)
    return {} if facts.device_name is None else {"endpoint": facts.device_name}


def _soft_keys(spec: EngineSpec, facts: EngineFacts, gpus: Sequence[GpuDevice]) -> dict[str, str]:
    return {
        **{f"engine argument {name}": json.dumps(value) for name, value in spec.shown_args.items()},
        MODEL_NAME: _shown_model(spec.model),
        **_model_files(spec.model),
        "plugin": __version__,
        "system": f"{platform.system()} {platform.release()}",
        **{f"version of {name}": version for name, version in facts.versions.items()},
        **{f"resolved {name}": _shareable(str(value)) for name, value in facts.resolved.items()},
        **_gpu_soft_keys(gpus),
    }


def _model_files(model: str) -> dict[str, str]:
    """What tells the files of a local model from others, as one text."""
    files = model_files(resolve(model))
    return {MODEL_FILES: json.dumps(files)} if files else {}


def profile(backend: Backend, facts: EngineFacts, gpus: Sequence[GpuDevice]) -> str:
    """The name of this hardware as a folder: the GPU's name, or the CPU's model with its core count."""
    if not backend.on_hardware:
        return slug(_elsewhere(backend.name, facts.device_name or ""))
    if facts.on_gpu:
        # vLLM may call a part of a GPU like the whole
        return _gpu_profile([gpu.name for gpu in gpus] or [facts.device_name or "gpu"])
    return _cpu_profile(cpu_model(), str(os.cpu_count()))


def likely_profiles(target: Target) -> tuple[str, ...]:
    """The profiles that a target's measurement may get, before its engine has started; the likely one first.

    On a machine with GPUs, a CPU build runs on the CPU all the same. Of a server elsewhere nothing is known.
    """
    backend = target.backend
    if not backend.on_hardware:
        return () if backend.over_http else (slug(_elsewhere(backend.name, "")),)
    on_cpu = _cpu_profile(cpu_model(), str(os.cpu_count()))
    return (_gpu_profile([gpu.name for gpu in target.gpus]), on_cpu) if target.gpus else (on_cpu,)


def _elsewhere(backend: str, name: str) -> str:
    """The profile of what runs on no hardware that is known here."""
    return f"{backend} {name}".rstrip()


def _gpu_profile(names: Sequence[str]) -> str:
    return slug(f"{len(names)} x {names[0]}" if len(names) > 1 else names[0])


def _cpu_profile(model: str, cores: str) -> str:
    return slug(f"{model} {cores} cores")


def cpu_model() -> str:
    """The processor's model name, as the kernel gives it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _with_commit(spec: EngineSpec) -> str:
    """A hub name with the commit that the engine runs, where the cache of the hub tells it."""
    args = spec.args
    commit = str(args.get("revision") or "main")
    if not _COMMIT.fullmatch(commit):
        cache = args.get("download_dir") or _hub_cache({**os.environ, **dict(spec.env)})
        repository = f"models--{spec.model.replace('/', '--')}"
        try:
            commit = Path(cache, repository, "refs", commit).expanduser().read_text().strip()
        except (OSError, ValueError, RuntimeError):  # not there, a name that cannot be a file's, nobody's home
            return spec.model
    return f"{spec.model}@{commit}" if _COMMIT.fullmatch(commit) else spec.model


def _hub_cache(env: Mapping[str, str]) -> str:
    """Where huggingface_hub keeps what it fetched."""
    home = env.get("HF_HOME") or "~/.cache/huggingface"
    return env.get("HF_HUB_CACHE") or f"{home}/hub"


def _hardware_keys(facts: EngineFacts, gpus: Sequence[GpuDevice]) -> dict[str, str]:
    return _gpu_keys(gpus) if facts.on_gpu else _machine_keys()


def _gpu_keys(gpus: Sequence[GpuDevice]) -> dict[str, str]:
    return {
        "gpu": ", ".join(gpu.name for gpu in gpus),  # their number too, and of a MIG device its profile
        # Rounded, as an updated driver may keep some MiB more or less for itself on the same card.
        "gpu memory": ", ".join(f"{gpu.total_bytes / 2**30:.0f} GiB" for gpu in gpus),
        "gpu compute capability": ", ".join("{}.{}".format(*gpu.compute_capability) for gpu in gpus),
    }


def _gpu_soft_keys(gpus: Sequence[GpuDevice]) -> dict[str, str]:
    """What may change on one card: a driver is updated, a power limit set."""
    if not gpus:
        return {}
    limits = [gpu.power_limit for gpu in gpus if gpu.power_limit is not None]
    told = {
        "driver": gpus[0].driver,
        "driver's CUDA": gpus[0].cuda,
        "gpu power limit": ", ".join(f"{limit:g} W" for limit in limits),
    }
    return {name: value for name, value in told.items() if value}


def _machine_keys() -> dict[str, str]:
    return {
        "cpu": cpu_model(),
        "cpu cores": str(os.cpu_count()),
        "cpu instructions": cpu_instructions(),
    }


def cpu_instructions() -> str:
    """The instruction sets that decide which kernels vLLM's CPU build runs, of those that the processor has."""
    flags = set((_cpuinfo("flags") or _cpuinfo("Features") or "").split())
    return " ".join(flag for flag in _ISA_FLAGS if flag in flags)


def _cpuinfo(field: str) -> str | None:
    """The first processor's line of that name."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    match = re.search(rf"^{re.escape(field)}\s*:\s*(.*)$", text, re.MULTILINE)
    return match[1].strip() if match else None


def _shareable(text: str) -> str:
    """A text for a file that is shared: no secret, and no home folder."""
    return str(without_home(masked_text(text), home()))


def _shown_model(model: str) -> str:
    """A path's last part: a baseline file is shared, a home folder is not."""
    return Path(model).name if Path(model).is_absolute() or model.startswith("~") else masked_text(model)
