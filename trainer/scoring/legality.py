"""The validation-text ledger: gives windows to score, and tokens for learning only after they were scored.

The only code that shows validation tokens to a model (`data/check_data.py` counts them beforehand). A scorer receives
windows and returns logits; the ledger computes the scores. Training rows of a chunk are given only after every target
in it was scored exactly once over all ranks.
Enforces conditions E1-E6, E12 and E13 (docs/recipe.md 1.4).

The ledger cannot check that the model is causal within a window; a perturbation test does.

    P positions (position p reads token p and is scored on token p + 1) · N scored positions of a batch
    B windows · T window positions, S the last of them · V vocabulary · Q rows of T tokens
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.ranks import Ranks
from trainer.scoring.bits_per_byte import bits_per_byte, mean_nats
from trainer.scoring.ledger_summary import Events, digest_of
from trainer.scoring.weights_digest import parameter_digest, state_tensors, writes
from trainer.spec.errors import LegalityError


class ByteCounter(Protocol):
    """Counts the bytes of text that tokens stand for."""

    def count(self, targets_N: Tensor, previous_N: Tensor) -> Tensor:
        """UTF-8 bytes of each target after its predecessor; all int64, on the CPU."""


class Window(NamedTuple):
    """Positions [start, end) seen by the model at once; those from `first_scored` on are scored."""

    start: int
    end: int
    first_scored: int


@dataclass(frozen=True, eq=False)
class Issue:
    """Windows given out for scoring; they must be committed before the next ones are."""

    windows: tuple[Window, ...]
    ids_BT: Tensor
    """int64 inputs, short windows padded on the right."""
    parameters: Tensor
    """Digest of the model's parameters at the issue; it is that of the last commit if nothing was written since."""
    first: int
    """The least place in a window that is scored: no window scores what lies before it."""
    positions_N: Tensor
    """int64, the positions that are scored, on the CPU."""
    cells_N: Tensor
    """int64, their places among the B S cells that lie from `first` on, on the device."""

    def scored(self, outputs_BSX: Tensor) -> Tensor:
        """(N,X), the outputs at the scored positions; they may be given for all T places of a window."""
        num_places = self.ids_BT.size(1) - self.first
        return outputs_BSX[:, outputs_BSX.size(1) - num_places :].flatten(0, 1)[self.cells_N]


@dataclass(frozen=True, eq=False)
class Commit:
    """A committed issue whose scores may still be on their way from the device."""

    issue: Issue
    nll_N: Tensor
    parameters_2: Tensor
    """The parameters' digests at the issue and at the commit."""
    wait: Callable[[], None]
    """Returns once both tensors hold their values."""


@dataclass(frozen=True, eq=False)
class Score:
    """The score of the whole text, the same on every rank."""

    val_loss: float
    """Nats per token."""
    val_bpb: float
    """Bits per byte, the headline."""
    num_tokens: int
    num_bytes: int
    nll_P: Tensor
    """float32, nats of each position's target, on the CPU."""


class Ledger:
    """Scores one text once.

    tokens:      1-D, any integer dtype; P + 1 of them
    byte_table:  counts the bytes of each target
    vocab_size:  V, the width of the logits
    ranks:       ranks that share the scoring; each has its own ledger, and all must make the same collective calls,
                 `training_rows` and `close`
    """

    legal: ClassVar[bool] = True
    """Whether every score is committed before its target can be learned from; a property of the class."""

    def __init__(self, tokens: Tensor, byte_table: ByteCounter, vocab_size: int, ranks: Ranks):
        self._tokens = tokens.to(torch.int32)
        self._byte_table = byte_table
        self._vocab_size = vocab_size
        self._ranks = ranks
        self.num_positions = max(len(self._tokens) - 1, 0)
        self._coverage_P = torch.zeros(self.num_positions, dtype=torch.uint8)
        self._nll_P = torch.zeros(self.num_positions, dtype=torch.float32)
        self._bytes_P = torch.zeros(self.num_positions, dtype=torch.int32)
        self._num_scored = 0
        self._open_issue: Issue | None = None
        self._targets_N = torch.empty(0)
        """The targets of the open issue, on the device; no scorer sees them."""
        self._unsettled: Commit | None = None
        self._expected_parameters: int | None = None
        self._committed_parameters: Tensor | None = None
        """The digest at the last commit, on the device, until training rows are granted."""
        self._committed_writes: list[tuple[object, ...]] = []
        """`writes` of the model at the last commit."""
        self._chain = hashlib.sha256(b"fairway ledger").hexdigest()
        self._events = Events()
        self.summary: dict[str, Any] = {}
        """What was done, over all ranks: `ledger_summary`. Empty until `close`."""

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        read_split: Callable[[Path, Literal["val"], int], Tensor],
        byte_table: ByteCounter,
        vocab_size: int,
        ranks: Ranks,
    ) -> Self:
        """The ledger over the validation split in `folder`; `read_split(folder, 'val', vocab_size)` reads it.

        Raises what `read_split` raises for shards that are missing or damaged.
        """
        return cls(read_split(folder, "val", vocab_size), byte_table, vocab_size, ranks)

    @property
    def num_scored(self) -> int:
        """Positions that this rank has scored."""
        return self._num_scored

    @property
    def digest(self) -> str:
        """Hash chain over every issue, commit and grant so far; after `close`, the digest of the summary."""
        return digest_of(self.summary) if self.summary else self._chain

    def issue(self, model: nn.Module, windows: Sequence[Window], window_tokens: int = 0) -> Issue:
        """The inputs of some windows, to be scored by `model` as it is now.

        window_tokens:  length to pad to at least: what a model computes may depend on the length of its input
                        (the NTK rescale of the rotary base), and must not depend, but for rounding, on which
                        windows share a batch
        Raises LegalityError while an earlier issue is not committed, so no one reads ahead of the scores, and if a
        position has a score or two of the windows score it.
        """
        if self._open_issue is not None:
            raise LegalityError("windows were issued while earlier ones are not committed; commit them first")
        for window in windows:
            if not 0 <= window.start <= window.first_scored < window.end <= self.num_positions:
                raise LegalityError(f"{window} scores nothing or leaves the text of {self.num_positions} positions")
        positions_BT, inside_BT, scored_BT = _layout(windows, window_tokens)
        ids_BT = self._tokens[positions_BT.where(inside_BT, 0)].where(inside_BT, 0)
        first = int(scored_BT.any(0).to(torch.uint8).argmax())
        cells_N = scored_BT[:, first:].flatten().nonzero().squeeze(1)
        positions_N = positions_BT[scored_BT]
        self._refuse_scored(positions_N)
        _refuse_overlap(windows)
        packed = torch.cat([ids_BT.flatten(), cells_N.to(torch.int32), self._tokens[positions_N + 1]])  # one upload
        parts = self._ranks.to_device(packed).to(torch.int64).split([ids_BT.numel(), len(cells_N), len(cells_N)])
        ids_BT, cells_N, self._targets_N = parts[0].view(ids_BT.shape), parts[1], parts[2]
        committed = self._committed_parameters  # no other digest is allowed until training rows are granted
        tensors = state_tensors(model)
        unwritten = committed is not None and self._committed_writes == writes(tensors)
        parameters = committed if unwritten and committed is not None else parameter_digest(tensors)
        self._open_issue = Issue(tuple(windows), ids_BT, parameters, first, positions_N, cells_N)
        return self._open_issue

    def commit(
        self,
        issue: Issue,
        model: nn.Module,
        outputs_BSX: Tensor,
        head: Callable[[Tensor], Tensor] = lambda logits_NV: logits_NV,
    ) -> None:
        """Scores the windows of the open issue; scores are final.

        outputs_BSX:  float logits (B,T,V), or states that `head` turns into logits, of all places of a window or of the
                      S from `issue.first` on
        head:         (N,X) → (N,V), called on scored positions alone and with one row per position, so that it cannot
                      carry anything from one to another without being seen by the perturbation test
        The ledger itself applies log-softmax in float32 and picks the targets. On a GPU the values arrive while the
        next windows are computed, and are checked then: at the next commit, `training_rows` or `close`.
        Raises LegalityError if the model changed since the issue, or since the last commit without training rows
        being granted in between; if the logits have another shape; if a score is not finite.
        """
        if issue is not self._open_issue:
            raise LegalityError("this issue is not open: it was committed before, or another ledger made it")
        expected = (*issue.ids_BT.shape, self._vocab_size)
        num_windows, num_places = issue.ids_BT.shape
        if outputs_BSX.shape[:2] not in ((num_windows, num_places), (num_windows, num_places - issue.first)):
            last = f", or the last {num_places - issue.first} of the {num_places} places" if issue.first else ""
            raise LegalityError(f"outputs have shape {tuple(outputs_BSX.shape)}, expected {expected}{last}")
        with torch.no_grad():
            logits_NV = head(issue.scored(outputs_BSX.detach()))
            if tuple(logits_NV.shape) != (len(issue.cells_N), self._vocab_size):
                shape = (*outputs_BSX.shape[:2], *logits_NV.shape[1:])
                raise LegalityError(f"logits have shape {shape}, expected {expected}")
            nll_N = _nats(logits_NV, self._targets_N)
            tensors = state_tensors(model)
            self._committed_parameters, self._committed_writes = parameter_digest(tensors), writes(tensors)
            parameters_2 = torch.stack([issue.parameters, self._committed_parameters])
            nll_N, parameters_2, wait = self._ranks.download(nll_N, parameters_2)
        self._settle()
        self._coverage_P[issue.positions_N] = 1
        self._num_scored += len(issue.positions_N)
        self._open_issue = None
        self._unsettled = Commit(issue, nll_N, parameters_2, wait)
        if self._ranks.device.type == "cpu":
            self._settle()

    def _settle(self) -> None:
        """Checks and keeps the scores of the last commit, if that is still to be done."""
        if (commit := self._unsettled) is None:
            return
        commit.wait()
        self._unsettled = None
        positions_N, nll_N = commit.issue.positions_N, commit.nll_N
        parameters = self._unchanged_parameters(*commit.parameters_2.tolist())
        if not nll_N.isfinite().all():
            position = int(positions_N[~nll_N.isfinite()][0])
            raise LegalityError(f"the score of position {position} is not finite; the model's logits overflow")
        self._nll_P[positions_N] = nll_N
        targets_N, previous_N = (self._tokens[positions_N + ahead].to(torch.int64) for ahead in (1, 0))
        self._bytes_P[positions_N] = self._byte_table.count(targets_N, previous_N).to(torch.int32)
        self._expected_parameters = parameters
        for window in commit.issue.windows:
            self._events.add("score", window.first_scored, window.end)
        self._record("issue", *map(tuple, commit.issue.windows))
        self._record("commit", parameters, hashlib.sha256(nll_N.numpy().tobytes()).hexdigest())

    def training_rows(self, chunk_start: int, chunk_end: int, row_tokens: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets, each int64 (Q, row_tokens), of positions [chunk_start, chunk_end), all scored before.

        Whole rows only; the remainder is left out. The same rows on every rank, since the coverage is summed over
        ranks first. The model may change only after this call.
        Raises LegalityError for learning before scoring, and for learning once nothing is left to score.
        """
        if self._open_issue is not None:
            raise LegalityError("training rows were requested while issued windows are not committed")
        self._settle()
        self._same_on_every_rank(chunk_start, chunk_end, row_tokens)
        own = [self._coverage_P[chunk_start:chunk_end].to(torch.int64), torch.tensor([self._num_scored])]
        counts = self._over_ranks(torch.cat(own))
        if (wrong := (counts[:-1] != 1).nonzero()).numel():
            where = chunk_start + int(wrong[0])
            raise LegalityError(
                f"learning before scoring: position {where} of chunk [{chunk_start}, {chunk_end}) was scored "
                f"{int(counts[where - chunk_start])} times over all ranks; it may be learned from once that is 1"
            )
        if int(counts[-1]) == self.num_positions:
            raise LegalityError("nothing is left to score, so learning could not matter; training rows are refused")
        self._expected_parameters = self._committed_parameters = None
        self._record_training(chunk_start, chunk_end, row_tokens)
        num_rows = (chunk_end - chunk_start) // row_tokens
        span = self._tokens[chunk_start : chunk_start + num_rows * row_tokens + 1].to(self._ranks.device, torch.int64)
        return span[:-1].view(num_rows, row_tokens), span[1:].view(num_rows, row_tokens)

    def close(self) -> Score:
        """The score of the whole text, summed over ranks.

        Raises LegalityError unless every position was scored exactly once and every issue was committed;
        NothingScored for a text without a scored token or byte.
        """
        if self._open_issue is not None:
            raise LegalityError("the ledger was closed while issued windows are not committed")
        self._settle()
        coverage_P = self._over_ranks(self._coverage_P)
        if (wrong := (coverage_P != 1).nonzero()).numel():
            where = int(wrong[0])
            raise LegalityError(
                f"{len(wrong)} of {self.num_positions} positions were not scored exactly once; "
                f"the first is {where}, scored {int(coverage_P[where])} times"
            )
        # Each position has one owner and zeros elsewhere: the sum over ranks is exact, whatever their number.
        nll_P, bytes_P = self._over_ranks(self._nll_P), self._over_ranks(self._bytes_P)
        score = Score(mean_nats(nll_P), bits_per_byte(nll_P, bytes_P), len(nll_P), int(bytes_P.sum()), nll_P)
        self.summary = {
            "positions": self.num_positions,
            "tokens": score.num_tokens,
            "bytes": score.num_bytes,
            "text_sha256": hashlib.sha256(self._tokens.numpy().tobytes()).hexdigest(),
            "nats_sha256": hashlib.sha256(nll_P.numpy().tobytes()).hexdigest(),
            "ranks": self._ranks.gather_objects({"chain": self._chain, "events": self._events.list}),
        }
        return score

    def _unchanged_parameters(self, at_issue: int, parameters: int) -> int:
        if self._expected_parameters not in (None, parameters):
            raise LegalityError("the model changed between two commits, though no training rows were granted")
        if parameters != at_issue:
            raise LegalityError("the model's parameters or buffers changed between issue and commit")
        return parameters

    def _refuse_scored(self, positions_N: Tensor) -> None:
        seen = self._coverage_P[positions_N].bool()
        if seen.any():
            raise LegalityError(f"position {int(positions_N[seen][0])} was scored before; the first score is final")

    def _same_on_every_rank(self, *request: int) -> None:
        own = torch.tensor(request)
        largest, negated_smallest = self._ranks.max_(torch.stack([own, -own]).to(self._ranks.device)).cpu()
        if not largest.equal(-negated_smallest):
            raise LegalityError(f"ranks request different training rows, this one {request}; all must request the same")

    def _over_ranks(self, tensor: Tensor) -> Tensor:
        if self._ranks.size == 1:
            return tensor
        return self._ranks.sum_(tensor.to(self._ranks.device, copy=True)).cpu()

    def _record(self, event: str, *facts: object) -> None:
        self._chain = hashlib.sha256(f"{self._chain} {event} {facts}".encode()).hexdigest()

    def _record_training(self, start: int, end: int, row_tokens: int) -> None:
        self._events.add("train", start, end)
        self._record("train", start, end, row_tokens)


def _nats(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Negative log-likelihoods in float32; on a CPU some rows at a time, which a core keeps near."""
    rows = max(2**16 // logits_NV.size(1), 1) if logits_NV.device.type == "cpu" else len(logits_NV)
    parts = zip(logits_NV.split(rows), targets_N.split(rows), strict=True)
    return torch.cat([F.cross_entropy(logits.float(), targets, reduction="none") for logits, targets in parts])


def _refuse_overlap(windows: Sequence[Window]) -> None:
    scored = sorted((window.first_scored, window.end) for window in windows)
    if any(end > first for (_, end), (first, _) in pairwise(scored)):
        raise LegalityError("the windows of one issue overlap in what they score; each position is scored once")


def _layout(windows: Sequence[Window], window_tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """Positions of each cell of a batch, whether the cell is inside its window, and whether it is scored."""
    starts_B1, ends_B1, firsts_B1 = torch.tensor(windows).view(-1, 3).unsqueeze(-1).unbind(1)
    positions_BT = starts_B1 + torch.arange(max(int((ends_B1 - starts_B1).max()), window_tokens))
    inside_BT = positions_BT < ends_B1
    return positions_BT, inside_BT, inside_BT & (positions_BT >= firsts_B1)
