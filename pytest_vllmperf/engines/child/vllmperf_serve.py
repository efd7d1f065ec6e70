"""A served engine: `vllm serve` on a free port of the loopback, with the line protocol beside it.

The server runs in the main thread, as its signal handlers want it; a second thread answers operations. Operations:
`load` (answered once the server is healthy), `usage`, `reset_prefix_cache`, `sleep`, `wake_up`, `profile_start`,
`profile_stop`, `shutdown`.
"""

from __future__ import annotations

import asyncio
import difflib
import http.client
import importlib
import inspect
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import vllmperf_cpu_build
import vllmperf_offline
import vllmperf_process

HOST = "127.0.0.1"
POLL_S = 0.05
ENTRIES = ("vllm.entrypoints.launchers.api_server.entry", "vllm.entrypoints.openai.api_server")
LAUNCHERS = ("vllm.entrypoints.launchers.launcher", "vllm.entrypoints.openai.api_server")
PARSERS = ("vllm.entrypoints.launchers.cli_args", "vllm.entrypoints.openai.cli_args")
"""Where newer and older versions of vLLM keep the parts of `vllm serve`."""
LORA = "lora_modules"
"""Adapters, each a JSON object or `name=path`; or paths by name, which vLLM does not take."""
OWN_FIGURES = "enable_per_request_metrics"


class ServedLlm:
    """What the offline engine asks of `vllm.LLM`, answered by a server's engine client.

    Not to be called in the thread of the client's event loop.

    Args:
        client: vLLM's `AsyncLLM`.
        loop: the event loop that it runs in.
    """

    def __init__(self, client: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop
        self.llm_engine = self

    @property
    def vllm_config(self) -> Any:
        """What vLLM made of the arguments."""
        return self._client.vllm_config

    def _wait(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def collective_rpc(self, method: str, args: tuple[Any, ...] = ()) -> Any:
        """A method of the worker extension, on all workers."""
        return self._wait(self._client.collective_rpc(method, args=args))

    def reset_prefix_cache(self) -> bool:
        """Forget the KV blocks of earlier prompts; None of older versions is a yes."""
        return self._wait(self._client.reset_prefix_cache()) is not False

    def reset_mm_cache(self) -> None:
        """Forget processed images, where this version can."""
        self._reset("reset_mm_cache")

    def reset_encoder_cache(self) -> None:
        """Forget encoded images, where this version can."""
        self._reset("reset_encoder_cache")

    def _reset(self, name: str) -> None:
        reset = getattr(self._client, name, None)
        if reset is not None:
            self._wait(reset())

    def sleep(self, level: int) -> None:
        """Give the GPU's memory back."""
        self._wait(self._client.sleep(level))

    def wake_up(self) -> None:
        """Take the memory again."""
        self._wait(self._client.wake_up())

    def get_tokenizer(self) -> Any:
        """The model's own; a coroutine in older versions."""
        found = self._client.get_tokenizer()
        return self._wait(found) if inspect.isawaitable(found) else found


class ServedEngine(vllmperf_offline.OfflineEngine):
    """A server in this process, and what is counted about it."""

    def __init__(self, messages: Iterator[dict[str, Any]], lines: vllmperf_process.Lines) -> None:
        super().__init__()
        self._messages = messages
        self._lines = lines
        self._answered = threading.Lock()
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._port = 0
        self._started = 0.0

    def serve(self) -> None:
        """Run the server until it is told to stop; `load` is answered once it is healthy. In the main thread."""
        request = next(self._messages, None)
        if request is None:
            return
        try:
            self._run(request["model"], request["engine_args"], request["api_key"])
            raise RuntimeError("the server exited before it was healthy")
        except BaseException as error:
            if not self._answered.acquire(blocking=False):  # it was up: this is its end
                return
            vllmperf_process.print_traceback()
            told = {"type": type(error).__name__, "message": str(error) or "it ended", "pid": os.getpid()}
            self._lines.send({"error": told})

    def _run(self, model: str, engine_args: dict[str, Any], api_key: str) -> None:
        # Not as an argument: vLLM writes those into its log.
        os.environ["VLLM_API_KEY"] = api_key
        ours = {"trust_remote_code": False, "worker_extension_cls": vllmperf_offline.EXTENSION}
        arguments = {**ours, **engine_args}
        if vllmperf_cpu_build.cpu_build_version() is not None:
            self.chosen = vllmperf_cpu_build.kv_cache_default(arguments)
        self.count_instructions()
        namespace = parsed(model, {**arguments, **self.chosen})
        self._started = time.monotonic()
        setup = found(LAUNCHERS, "setup_server")
        keywords = {"reuse_port": False} if "reuse_port" in inspect.signature(setup).parameters else {}
        address, listening = setup(namespace, **keywords)
        self._port = listening.getsockname()[1]
        self._capture(arguments)
        fork_the_engine_core()
        run(found(ENTRIES, "run_server_worker")(address, listening, namespace))

    def _capture(self, arguments: dict[str, Any]) -> None:
        """Keep the engine client that the server will make, and its event loop; answer operations from then on.

        Not earlier: a process that vLLM forks meanwhile must find no thread of ours.
        """
        from vllm.v1.engine.async_llm import AsyncLLM

        original = AsyncLLM.from_vllm_config

        def made(*positional: Any, **named: Any) -> Any:
            client = original(*positional, **named)
            self._loop = asyncio.get_running_loop()
            self._client = client
            threading.Thread(target=self._answer, args=[arguments], name="vllmperf-lines", daemon=True).start()
            return client

        setattr(AsyncLLM, "from_vllm_config", made)  # noqa: B010 - of a class that is not ours

    def _answer(self, arguments: dict[str, Any]) -> None:
        """Answer `load` once the server is healthy, then all other operations. In a thread of its own."""
        while not healthy(self._port):
            time.sleep(POLL_S)
        seconds = time.monotonic() - self._started
        assert self._loop is not None
        self.llm = ServedLlm(self._client, self._loop)
        try:
            probed = self.probe(arguments)
            facts = {**self.describe(probed["kv_cache_groups"]), **probed, "load_seconds": seconds, "port": self._port}
            answer: dict[str, Any] = {"ok": facts}
        except Exception as error:
            vllmperf_process.print_traceback()
            answer = {"error": {"type": type(error).__name__, "message": str(error), "pid": os.getpid()}}
        if self._answered.acquire(blocking=False):
            self._lines.send(answer)
        vllmperf_process.serve(self, self._messages, self._lines)
        if vllmperf_cpu_build.cpu_build_version() is not None:
            os._exit(0)  # the group goes with this process: taking vLLM's objects apart frees nothing more
        os.kill(os.getpid(), signal.SIGTERM)

    def usage(self) -> dict[str, Any]:
        """What the processes have used so far, and what the workers tell of the iteration that has just ended."""
        return {
            "cpu_seconds": vllmperf_process.tree_cpu_seconds(),
            "instructions": self.instructions.read(),
            "resident_bytes": vllmperf_process.tree_resident_bytes(),
            **self.after_run(),
        }

    def shutdown(self) -> None:
        """Nothing yet: the server is stopped once this is answered."""


def fork_the_engine_core() -> None:
    """Have vLLM fork its engine core from this process, which has imported all that it needs, instead of spawning it.

    That takes ten seconds off each start. It is vLLM's default where Python starts the server; the command `vllm serve`
    and the CPU build choose to spawn. What the user has set stays.
    """
    if "VLLM_WORKER_MULTIPROC_METHOD" in os.environ:
        return
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
    if vllmperf_cpu_build.cpu_build_version() is not None:  # which sets the variable while it makes its configuration
        utils = importlib.import_module("vllm.v1.engine.utils")
        if hasattr(utils, "get_mp_context"):
            setattr(utils, "get_mp_context", lambda: multiprocessing.get_context("fork"))  # noqa: B010


def run(coroutine: Any) -> None:
    """Run the server's event loop, as `vllm serve` does."""
    import uvloop

    uvloop.run(coroutine)


def found(modules: tuple[str, ...], name: str) -> Any:
    """A name of vLLM's, wherever this version keeps it.

    Raises:
        ImportError: where it has none.
    """
    for module in modules:
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"this version of vLLM has no {name} in {' or '.join(modules)}")


def parsed(model: str, arguments: dict[str, Any]) -> Any:
    """The arguments of `vllm serve`: its own defaults, and what the test names under vLLM's names, untouched.

    Raises:
        ValueError: for an argument that it does not have, or a value that its command line refuses.
    """
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    class Parser(FlexibleArgumentParser):  # type: ignore[misc]
        """One that raises, where the other prints its usage and exits."""

        def error(self, message: str) -> NoReturn:
            raise ValueError(message)

    parser = found(PARSERS, "make_arg_parser")(Parser())
    known = vars(parser.parse_args([]))
    for name in arguments:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ValueError(f"vllm serve has no argument {name!r}{f' (did you mean {near[0]}?)' if near else ''}")
    spelled = {name: words(name, value) for name, value in arguments.items()}
    namespace = parser.parse_args([word for several in spelled.values() for word in several])
    if OWN_FIGURES in known:  # newer versions only: the server's own TTFT of each request, beside the client's
        setattr(namespace, OWN_FIGURES, True)
    for name, value in arguments.items():
        if not spelled[name]:
            setattr(namespace, name, value)
    namespace.model = namespace.model_tag = model
    namespace.host, namespace.port = HOST, 0
    found(PARSERS, "validate_parsed_serve_args")(namespace)
    return namespace


def words(name: str, value: Any) -> list[str]:
    """An argument as words of the command line, where vLLM makes an object of its own of them; else none."""
    option = f"--{name.replace('_', '-')}"
    if name == LORA and isinstance(value, dict):
        value = [{"name": own, "path": path} for own, path in value.items()]
    if isinstance(value, dict):
        return [option, json.dumps(value)]
    if name == LORA and isinstance(value, list):
        return [option, *(one if isinstance(one, str) else json.dumps(one) for one in value)]
    return []


def healthy(port: int) -> bool:
    """Whether the server answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def serve(lines: vllmperf_process.Lines) -> Any:
    """Run the server until the other side is gone, or asks it to stop."""
    engine = ServedEngine(iter(lines), lines)
    engine.serve()
    return engine
