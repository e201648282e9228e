"""Text from an artifact: the prompt, continued token by token. Only the counted bytes and their tokenizer are used.

Slow and plain: every token reads its whole window again, which for models of this size takes milliseconds.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from trainer.data.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID, Tokenizer
from trainer.nn.gpt import GPT
from trainer.quant.artifact import Artifact, decode_artifact
from trainer.quant.bounded_streams import LARGEST_CONTENT_BYTES
from trainer.spec.errors import ArtifactError
from trainer.spec.stage_table import TOKENIZER_FILE
from trainer.spec.units import human_bytes
from trainer.stages.cpu import prepare_cpu
from trainer.stages.weights import build_model, require_shapes

WINDOW_TOKENS = 1024
"""Tokens that the next one is drawn from."""
NEVER_DRAWN = (PAD_ID, UNK_ID)
ENDS = (BOS_ID, EOS_ID)
"""Where a document ends and another would begin."""


def sample_text(file: Path, prompt: str, tokenizer: Path | None, num_tokens: int, temperature: float, seed: int) -> str:
    """The prompt and at most so many tokens more, up to the end of the document; the same for the same seed.

    tokenizer:  by default the one of the artifact's store
    Raises ArtifactError for a file that is no artifact of ours, or whose tokenizer is not found.
    """
    prepare_cpu()
    artifact = _read(file)
    pieces = Tokenizer(tokenizer or _tokenizer_beside(file, artifact.vocab_size))
    if pieces.vocab_size != artifact.vocab_size:
        raise ArtifactError(
            f"--tokenizer {tokenizer} has {pieces.vocab_size:,} pieces, and the artifact {artifact.vocab_size:,}; "
            "name the one it was trained with"
        )
    ids = torch.tensor([BOS_ID, *map(int, pieces.encode(prompt))])
    drawn = continued(_model_of(file, artifact), ids, num_tokens, temperature, seed)
    return pieces.decode(drawn[1:].numpy())


@torch.inference_mode()
def continued(model: GPT, ids_T: Tensor, num_tokens: int, temperature: float, seed: int) -> Tensor:
    """The ids with at most `num_tokens` more, each drawn at this temperature; 0 takes the likeliest."""
    dice = torch.Generator().manual_seed(seed)
    for _ in range(num_tokens):
        logits_V = model(ids_T[-WINDOW_TOKENS:].unsqueeze(0))[0, -1].float()
        logits_V[list(NEVER_DRAWN)] = -torch.inf
        if temperature == 0:
            chosen = int(logits_V.argmax())
        else:
            chosen = int(torch.multinomial(torch.softmax(logits_V / temperature, -1), 1, generator=dice))
        if chosen in ENDS:
            break
        ids_T = torch.cat([ids_T, torch.tensor([chosen])])
    return ids_T


def _read(file: Path) -> Artifact:
    if not file.is_file():
        raise ArtifactError(f"{file} is no file; orchestrator best NAME prints where a sweep's artifact is")
    if file.stat().st_size > LARGEST_CONTENT_BYTES:
        raise ArtifactError(f"{file} is larger than {human_bytes(LARGEST_CONTENT_BYTES)}; that is not read")
    try:
        return decode_artifact(file.read_bytes())
    except ArtifactError as fault:
        raise ArtifactError(f"{file}: {fault}; orchestrator best NAME prints where a sweep's artifact is") from None


def _model_of(file: Path, artifact: Artifact) -> GPT:
    require_shapes(str(file), artifact.model, artifact.vocab_size, artifact.state, "is not of the model it names")
    model = build_model(artifact.model, artifact.vocab_size, torch.device("cpu"))
    model.load_state_dict(artifact.state)
    return model.eval()


def _tokenizer_beside(file: Path, vocab_size: int) -> Path:
    """The only tokenizer of this size in the store that holds the artifact: STORE/stages/export/FINGERPRINT/."""
    texts = file.absolute().parents[2] / "train_text" if len(file.absolute().parents) > 2 else file
    fitting = [path for path in sorted(texts.glob(f"*/{TOKENIZER_FILE}")) if Tokenizer(path).vocab_size == vocab_size]
    if len(fitting) == 1:
        return fitting[0]
    why = f"{len(fitting)} tokenizers of {vocab_size:,} pieces: {', '.join(map(str, fitting))}"
    raise ArtifactError(
        f"{file} does not hold its tokenizer, and its store has {why if fitting else 'none that fits'}; "
        "name it: --tokenizer FILE"
    )
