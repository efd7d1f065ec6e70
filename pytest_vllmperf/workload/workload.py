"""`Workload` and its constructors: random tokens, texts, chats, files, recorded traffic."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.workload import traces
from pytest_vllmperf.workload.arrivals import Arrivals
from pytest_vllmperf.workload.entries import Entry, UnusableError, encode_messages
from pytest_vllmperf.workload.folders import read_dataset
from pytest_vllmperf.workload.lengths import Length, bounds, check_count, check_optional_count, kept
from pytest_vllmperf.workload.media import embedded
from pytest_vllmperf.workload.plan import Plan
from pytest_vllmperf.workload.request import Message
from pytest_vllmperf.workload.rows import read_jsonl
from pytest_vllmperf.workload.sending import faster
from pytest_vllmperf.workload.talks import read_talks, take_talks
from pytest_vllmperf.workload.textfiles import checked


@dataclass(frozen=True)
class Workload(Plan):
    """What one iteration sends, and when; made from lengths, lists or files, then sent `at` a load."""

    @classmethod
    def synthetic(
        cls,
        *,
        requests: int,
        input_tokens: Length,
        output_tokens: Length,
        concurrency: int | None = None,
        seed: int = 0,
        shared_prefix_tokens: int = 0,
        prefix_groups: int = 1,
        temperature: float = 0.0,
    ) -> Workload:
        """Random token ids with given lengths: no tokenizer, no download, the same in every run.

        Lengths are a number, an inclusive range `(low, high)`, or a histogram `{length: weight}`. With `prefix_groups`
        request i begins with the shared prefix of group i modulo that number.

        Raises:
            WorkloadError: for a length or count below 1, a reversed range, a shared prefix that leaves no
                room for a token of the request's own, or more groups than requests.
        """
        check_count("requests", requests)
        check_optional_count("concurrency", concurrency)
        inputs = kept("input_tokens", input_tokens)
        _check_prefixes(shared_prefix_tokens, prefix_groups, bounds(inputs)[0], requests)
        return cls(
            kind="synthetic",
            count=requests,
            output_tokens=kept("output_tokens", output_tokens),
            input_tokens=inputs,
            concurrency=concurrency,
            seed=seed,
            shared_prefix_tokens=shared_prefix_tokens,
            prefix_groups=prefix_groups,
            temperature=temperature,
        )

    @classmethod
    def prompts(
        cls,
        prompts: Sequence[str],
        *,
        output_tokens: int,
        concurrency: int | None = None,
        ignore_eos: bool = True,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Workload:
        """Given texts.

        Raises:
            WorkloadError: for an empty list, an entry that is not text, or a length below 1.
        """
        check_count("output_tokens", output_tokens)
        listed = isinstance(prompts, (list, tuple)) and len(prompts) > 0
        if not listed or not all(isinstance(p, str) and p for p in prompts):
            raise WorkloadError("prompts must be a list of one or more non-empty strings")
        entries = [Entry("prompts", text, output_tokens) for text in prompts]
        return cls._listed(entries, concurrency, seed, ignore_eos, temperature)

    @classmethod
    def chat(
        cls,
        chats: Sequence[Sequence[Message]],
        *,
        output_tokens: int,
        concurrency: int | None = None,
        ignore_eos: bool = True,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Workload:
        """Chats: each a list of `{"role": …, "content": …}`, rendered through the model's chat template.

        A content may be a list of parts, as OpenAI's: text, and `image_url`, `audio_url` or `video_url`, whose URL is a
        `data:` URL or the path of a local file. A file is read here, and sent as a `data:` URL.

        Raises:
            WorkloadError: for an empty list, a message without role or content, a file that cannot be read, or a
                length below 1.
        """
        check_count("output_tokens", output_tokens)
        if not isinstance(chats, (list, tuple)) or not chats:
            raise WorkloadError("chats must be a list of one chat or more")
        entries = [Entry("chat", _encode_chat(number, chat), output_tokens) for number, chat in enumerate(chats)]
        return cls._listed(entries, concurrency, seed, ignore_eos, temperature)

    @classmethod
    def sharegpt(
        cls,
        path: str | os.PathLike[str],
        *,
        requests: int | None = None,
        output_tokens: int | None = None,
        concurrency: int | None = None,
        ignore_eos: bool = True,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Workload:
        """The first turn of each conversation of a ShareGPT file, as a chat; in the file's order.

        Args:
            path: a JSON list of `{"conversations": [{"from": "human", "value": ...}, {"from": "gpt", ...}]}`.
            requests: how many; None for all. Conversations that do not begin with a user's message are left out.
            output_tokens: to generate; None for the recorded answer's length, counted as one token for four
                characters, at least 1, because no tokenizer is available.
            concurrency: requests in flight at once; None for all.
            ignore_eos: whether exactly `output_tokens` tokens are generated.
            temperature: of sampling.
            seed: of sampling, and of random arrivals.

        Raises:
            WorkloadError: for a file that cannot be used, with the place.
        """
        _check_counts(requests=requests, output_tokens=output_tokens, concurrency=concurrency)
        entries = read_talks(*checked(path), requests, output_tokens, first_turn=True)
        return cls._listed(entries, concurrency, seed, ignore_eos, temperature)

    @classmethod
    def conversations(
        cls,
        source: str | os.PathLike[str] | Sequence[Any],
        *,
        requests: int | None = None,
        output_tokens: int | None = None,
        concurrency: int | None = None,
        ignore_eos: bool = True,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Workload:
        """Conversations of several turns: each turn is sent after the one before has ended.

        The history of a turn has the *recorded* answers, so it is the same whatever the model answers.

        Args:
            source: a ShareGPT file, JSON lines with `messages`, or a list of conversations.
            requests: turns in all; None for all of them. The last conversation may be cut.
            output_tokens: as of `sharegpt`.
            concurrency: requests in flight at once, and so conversations; None for all.
            ignore_eos: whether exactly `output_tokens` tokens are generated.
            temperature: of sampling.
            seed: of sampling, and of random arrivals.

        Raises:
            WorkloadError: for conversations that cannot be used, with the place.
        """
        _check_counts(requests=requests, output_tokens=output_tokens, concurrency=concurrency)
        if isinstance(source, (list, tuple)):
            entries = take_talks("conversations", source, requests, output_tokens)
        else:
            entries = read_talks(*checked(source, "source"), requests, output_tokens)
        return cls._listed(entries, concurrency, seed, ignore_eos, temperature)

    @classmethod
    def jsonl(
        cls,
        path: str | os.PathLike[str],
        *,
        requests: int | None = None,
        output_tokens: int | None = None,
        concurrency: int | None = None,
        ignore_eos: bool = True,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Workload:
        """One request per line: a JSON string that is the prompt, or an object.

        Args:
            path: of the file. An object has one of `prompt` (text), `prompt_token_ids` and `messages`, and may have
                `output_tokens` (or `max_tokens`, `max_completion_tokens`).
            requests: how many, from the start; None for all.
            output_tokens: of all requests; None for what each line says.
            concurrency: requests in flight at once; None for all.
            ignore_eos: whether exactly `output_tokens` tokens are generated.
            temperature: of sampling.
            seed: of sampling, and of random arrivals.

        Raises:
            WorkloadError: for a file that cannot be used, with its broken lines.
        """
        _check_counts(requests=requests, output_tokens=output_tokens, concurrency=concurrency)
        entries = read_jsonl(*checked(path), requests, output_tokens)
        return cls._listed(entries, concurrency, seed, ignore_eos, temperature)

    @classmethod
    def dataset(
        cls,
        folder: str | os.PathLike[str],
        column: str,
        *,
        output_tokens: int,
        split: str | None = None,
        requests: int | None = None,
        concurrency: int | None = None,
        ignore_eos: bool = True,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Workload:
        """A column of a Hugging Face dataset in a folder on disk; arrow and parquet files need pyarrow.

        Args:
            folder: what `datasets.save_to_disk` wrote, or parquet, JSON lines, JSON or CSV files.
            column: of texts, lists of token ids, or conversations; of these the last answer is left out.
            output_tokens: to generate.
            split: which part; None where there is one.
            requests: how many, from the start; None for all.
            concurrency: requests in flight at once; None for all.
            ignore_eos: whether exactly `output_tokens` tokens are generated.
            temperature: of sampling.
            seed: of sampling, and of random arrivals.

        Raises:
            WorkloadError: for a folder, split or column that is not there, and rows that cannot be used.
        """
        check_count("output_tokens", output_tokens)
        _check_counts(requests=requests, output_tokens=output_tokens, concurrency=concurrency)
        entries = read_dataset(folder, column, requests, output_tokens, split)
        return cls._listed(entries, concurrency, seed, ignore_eos, temperature)

    @classmethod
    def trace(
        cls,
        path: str | os.PathLike[str],
        *,
        requests: int | None = None,
        speed: float = 1.0,
        unit: str | None = None,
        block_tokens: int | None = None,
        ignore_eos: bool = True,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Workload:
        """Recorded traffic: lengths and times of a trace, with random tokens.

        Args:
            path: `vllm bench`'s timed trace (JSON lines: timestamp, input_length, output_length, hash_ids), or Azure's
                CSV (TIMESTAMP, ContextTokens, GeneratedTokens).
            requests: how many, from the start; None for all.
            speed: 2 sends it in half the time.
            unit: of a timed trace's clock, `s` or `ms`; None for `ms` where blocks have 512 tokens, as in Mooncake's
                traces, else `s`, as `vllm bench serve` takes them.
            block_tokens: tokens that each of `hash_ids` names, the same tokens wherever the name comes again; None
                for 16 or 512, whichever fits all lines.
            ignore_eos: whether exactly the recorded number of tokens is generated.
            temperature: of sampling.
            seed: of tokens.

        Raises:
            WorkloadError: for a file that cannot be used, with its broken lines, or whose times decrease.
        """
        _check_counts(requests=requests, block_tokens=block_tokens)
        read = traces.read_trace(*checked(path), requests, unit, block_tokens)
        return cls(
            kind="trace",
            **_recorded(read),
            seed=seed,
            ignore_eos=ignore_eos,
            temperature=temperature,
            arrivals=faster(Arrivals("trace", due=read.due), speed),
        )

    @classmethod
    def _listed(
        cls, entries: Sequence[Entry], concurrency: int | None, seed: int, ignore_eos: bool, temperature: float
    ) -> Workload:
        check_optional_count("concurrency", concurrency)
        forms = {entry.form for entry in entries}
        follows = any(entry.follows for entry in entries)
        (kind,) = forms if len(forms) == 1 else ("mixed",)
        return cls(
            kind="conversations" if follows else kind,
            count=len(entries),
            **_outputs([entry.output_tokens for entry in entries]),
            concurrency=concurrency,
            seed=seed,
            inputs=tuple(f"{entry.form}:{entry.content}" if kind == "mixed" else entry.content for entry in entries),
            ignore_eos=ignore_eos,
            temperature=temperature,
            after=tuple(index - 1 if entry.follows else None for index, entry in enumerate(entries)) if follows else (),
        )


def _outputs(lengths: Sequence[int]) -> dict[str, Any]:
    """Tokens to generate: one number where they are all the same, so that such a workload has one key."""
    ends = kept("output_tokens", (min(lengths), max(lengths)))
    return {"output_tokens": ends, "output_lengths": () if isinstance(ends, int) else tuple(lengths)}


def _recorded(read: traces.Trace) -> dict[str, Any]:
    """What a trace says of the requests themselves."""
    inputs = [one.input_tokens for one in read.arrived]
    return {
        "count": len(read.arrived),
        **_outputs([one.output_tokens for one in read.arrived]),
        "input_tokens": kept("input_tokens", (min(inputs), max(inputs))),
        "inputs": tuple(map(traces.content, read.arrived)),
        "block_tokens": read.block_tokens,
    }


def _check_prefixes(tokens: int, groups: int, shortest: int, requests: int) -> None:
    if not isinstance(tokens, int) or isinstance(tokens, bool) or not 0 <= tokens < shortest:
        raise WorkloadError(f"shared_prefix_tokens={tokens!r} must be at least 0 and below input_tokens={shortest}")
    check_count("prefix_groups", groups)
    if groups > 1 and not tokens:
        raise WorkloadError(
            f"prefix_groups={groups} needs shared_prefix_tokens=, the number of tokens that a group shares"
        )
    if groups > requests:
        raise WorkloadError(f"prefix_groups={groups} is more than requests={requests}")


def _encode_chat(number: int, messages: object) -> str:
    try:
        return encode_messages(embedded(messages) if isinstance(messages, (list, tuple)) else messages)
    except UnusableError as error:
        raise WorkloadError(f"chat {number} {error}") from None


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        check_optional_count(name, value)
