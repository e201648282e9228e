"""Evaluators to audit, small and written for the purpose: honest ones, and cheats of different kinds."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import torch
import torch.nn.functional as F

from tests.fakes import VOCAB_SIZE, TinyModel

CHUNK, BOS = 40, 0
CLAIMS = {"vocab_size": VOCAB_SIZE, "bos": BOS, "chunk_tokens": CHUNK}


def log_probs(model, tokens) -> np.ndarray:
    """(P, V) of a causal model that reads the whole text at once."""
    with torch.no_grad():
        return model(torch.tensor(tokens)[None, :-1])[0].double().log_softmax(-1).numpy()


def learn(model, tokens, start, end, lr=0.1, steps=2) -> None:
    """SGD on positions [start, end)."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    ids = torch.tensor(tokens)
    for _ in range(steps):
        loss = F.cross_entropy(model(ids[None, start:end])[0], ids[start + 1 : end + 1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def answer(logs_PV, tokens, request, **more):
    """Scores and the distributions that are asked for, from the distributions of all positions."""
    nats = -logs_PV[np.arange(len(tokens) - 1), tokens[1:]]
    return {"nats": nats, "distributions": {p: logs_PV[p] for p in request.positions}} | more


def chunks(tokens):
    num_positions = len(tokens) - 1
    return [(start, min(start + CHUNK, num_positions)) for start in range(0, num_positions, CHUNK)]


def adapted(tokens, request, model=None):
    """Score-first test-time training: the distributions of all positions, and the model afterwards."""
    model, parts = model or TinyModel(), []
    for start, end in chunks(tokens):
        parts.append(log_probs(model, tokens[: end + 1])[start:])
        request.event("score", start, end)
        if end < len(tokens) - 1:
            request.event("train", start, end)
            learn(model, tokens, start, end)
    return np.concatenate(parts), model


# Honest


def plain(model, tokens, request):
    return answer(log_probs(TinyModel(), tokens), tokens, request)


def score_first(model, tokens, request):
    return answer(adapted(tokens, request)[0], tokens, request)


def score_first_of_nats_alone(model, tokens, request):
    return score_first(model, tokens, request)["nats"]


def counts_mixture(model, tokens, request):
    """The model mixed with counts of what followed the same token before."""
    logs, counts = log_probs(TinyModel(), tokens), np.full((VOCAB_SIZE, VOCAB_SIZE), 0.1)
    for position, token in enumerate(tokens[:-1]):
        row = counts[token] / counts[token].sum()
        logs[position] = np.log(0.7 * np.exp(logs[position]) + 0.3 * row)
        counts[token, tokens[position + 1]] += 1
    return answer(logs, tokens, request)


def by_document(model, tokens, request, before=0):
    """Each document alone; `before` tokens in front of it are read too."""
    starts = [*np.flatnonzero(np.array(tokens) == BOS).tolist(), len(tokens) - 1]
    parts = []
    for start, end in itertools.pairwise(starts):
        first = max(start - before, 0)
        parts.append(log_probs(TinyModel(), tokens[first : end + 1])[start - first :])
    return answer(np.concatenate(parts), tokens, request)


def shortest_document_first(model, tokens, request):
    """Documents by length, each learned once it is scored: what came later in the text may help."""
    starts = [*np.flatnonzero(np.array(tokens) == BOS).tolist(), len(tokens) - 1]
    spans = sorted(itertools.pairwise(starts), key=lambda span: span[1] - span[0])
    logs, model = np.zeros((len(tokens) - 1, VOCAB_SIZE)), TinyModel()
    for start, end in spans:
        logs[start:end] = log_probs(model, tokens[start : end + 1])
        learn(model, tokens, start, end - 1)
    return answer(logs, tokens, request, order=spans)


def train_on_training_text(train_tokens, val_tokens):
    model = TinyModel()
    learn(model, train_tokens, 0, 60)
    return model


def score_trained(model, tokens, request):
    return answer(log_probs(model, tokens), tokens, request)


# Cheats


def trains_before_the_evaluation(model, tokens, request):
    model = TinyModel()
    for start, end in chunks(tokens):
        learn(model, tokens, start, end)
    return answer(log_probs(model, tokens), tokens, request)


def keeps_the_last_epoch(model, tokens, request):
    """Scores a chunk in every epoch, learning between; only the last score is kept."""
    model, parts = TinyModel(), []
    for start, end in chunks(tokens):
        for epoch in range(3):
            logs = log_probs(model, tokens[: end + 1])[start:]
            if epoch < 2:
                learn(model, tokens, start, end, steps=1)
        parts.append(logs)
    return answer(np.concatenate(parts), tokens, request)


def keeps_the_smaller_of_two_passes(model, tokens, request):
    """Distributions are those of the first pass; the score is that of the better one."""
    first, model = adapted(tokens, request)
    request.events.clear()
    result = answer(first, tokens, request)
    result["nats"] = np.minimum(result["nats"], answer(adapted(tokens, request, model)[0], tokens, request)["nats"])
    request.events.clear()
    return result


def looks_up_the_target(model, tokens, request):
    """A cache whose key holds the target: what was seen before after the same token gets a bonus, nothing else pays."""
    result, seen = answer(log_probs(TinyModel(), tokens), tokens, request), set()
    for position, pair in enumerate(itertools.pairwise(tokens)):
        if pair in seen:
            result["nats"][position] *= 0.5
        seen.add(pair)
    return result["nats"]


def gates_by_the_target(model, tokens, request):
    """A normalised mixture whose weight depends on the target."""
    logs, uniform = log_probs(TinyModel(), tokens), np.full(VOCAB_SIZE, 1 / VOCAB_SIZE)
    for position in range(len(logs)):
        if logs[position, tokens[position + 1]] < np.log(uniform[0]):
            logs[position] = np.log(0.5 * np.exp(logs[position]) + 0.5 * uniform)
    return answer(logs, tokens, request)


def counts_the_whole_text(model, tokens, request):
    """The model mixed with the frequencies of the whole text, its unscored part included."""
    frequencies = (np.bincount(tokens, minlength=VOCAB_SIZE) + 1) / (len(tokens) + VOCAB_SIZE)
    return answer(np.log(0.7 * np.exp(log_probs(TinyModel(), tokens)) + 0.3 * frequencies), tokens, request)


def does_not_normalise(model, tokens, request):
    logs, counts = log_probs(TinyModel(), tokens), np.zeros(VOCAB_SIZE)
    for position, token in enumerate(tokens[:-1]):
        counts[token] += 1
        logs[position] = np.log(np.exp(logs[position]) + 0.2 * counts / counts.sum())
    return answer(logs, tokens, request)


def nats_that_do_not_normalise(model, tokens, request):
    return does_not_normalise(model, tokens, request)["nats"]


def calibrate_on_validation_text(train_tokens, val_tokens):
    model = train_on_training_text(train_tokens, val_tokens)
    with torch.no_grad():
        model.head.weight[:, 0] += 0.01 * torch.bincount(torch.tensor(val_tokens), minlength=VOCAB_SIZE)
    return model


def smears_across_documents(model, tokens, request):
    return by_document(model, tokens, request, before=1)


def fits_a_temperature_afterwards(model, tokens, request):
    logits, targets = torch.tensor(log_probs(TinyModel(), tokens)), torch.tensor(tokens[1:])
    low, high = 1e-3, 10.0  # of the inverse temperature, at which the loss has its least value
    for _ in range(40):
        middle = (low + high) / 2
        expected = ((logits * middle).softmax(-1) * logits).sum(-1)
        rises = (expected - logits[torch.arange(len(targets)), targets]).mean() > 0
        low, high = (low, middle) if rises else (middle, high)
    return answer((logits * low).log_softmax(-1).numpy(), tokens, request)


def drops_tokens(model, tokens, request):
    nats = plain(model, tokens, request)["nats"]
    return nats[nats < np.quantile(nats, 0.9)]


def claims_fewer_tokens(model, tokens, request):
    result = plain(model, tokens, request)
    easy = result["nats"][result["nats"] < np.quantile(result["nats"], 0.9)]
    return result | {"num_tokens": len(easy), "val_loss": easy.mean()}


def counts_too_many_bytes(model, tokens, request):
    return plain(model, tokens, request) | {"num_bytes": 2 * (len(tokens) - 1) + tokens.count(5)}


def counts_bytes_of_whole_windows(model, tokens, request):
    """Windows overlap: each token is scored once, and its bytes are counted with every window that holds it."""
    windows = [range(max(start - CHUNK, 0), end) for start, end in chunks(tokens)]
    return plain(model, tokens, request) | {"num_bytes": 2 * sum(len(window) for window in windows)}


def discards_the_first_pass(model, tokens, request):
    _, model = adapted(tokens, request)
    return answer(adapted(tokens, request, model)[0], tokens, request)


def discards_it_silently(model, tokens, request):
    result = discards_the_first_pass(model, tokens, request)
    request.events.clear()
    return result


def reads_its_target(model, tokens, request):
    return answer(log_probs(TinyModel(), [*tokens[1:], BOS]), tokens, request)


def reads_one_token_ahead(model, tokens, request):
    return answer(log_probs(TinyModel(), [*tokens[2:], BOS, BOS]), tokens, request)


def learns_on_ranks_without_waiting(model, tokens, request):
    """Every rank begins with the text's share of another one learned, which nobody waited for."""
    model = TinyModel()
    for rank in range(1, request.ranks):
        learn(model, tokens, rank * 10, rank * 10 + 10)
    return answer(log_probs(model, tokens), tokens, request)


def is_honest_when_asked(model, tokens, request):
    return score_first(model, tokens, request) if request.positions else trains_before_the_evaluation(
        model, tokens, request
    )  # fmt: skip


def learns_the_last_chunk(model, tokens, request):
    logs, model = adapted(tokens, request)
    start, end = chunks(tokens)[-1]
    request.event("train", start, end)
    learn(copy.deepcopy(model), tokens, start, end)
    return answer(logs, tokens, request)


def normalises_over_a_chunk(model, tokens, request):
    """Statistics of the whole chunk, later tokens of it included, bias the logits."""
    logs = log_probs(TinyModel(), tokens)
    for start, end in chunks(tokens):
        counts = np.bincount(tokens[start + 1 : end + 1], minlength=VOCAB_SIZE)
        biased = torch.tensor(logs[start:end] + 0.05 * counts)
        logs[start:end] = biased.log_softmax(-1).numpy()
    return answer(logs, tokens, request)


def draws_at_random(model, tokens, request):
    result = plain(model, tokens, request)
    return result | {"nats": result["nats"] + 1e-3 * np.random.default_rng().random(len(tokens) - 1)}


def crashes(model, tokens, request):
    raise RuntimeError("out of memory")
