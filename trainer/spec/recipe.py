"""The recipe: all settings that change the result of a run.

A recipe with an invalid value cannot be constructed. Each field has a description (the docstring below it), a unit, the
stages that read it, and the switches that disable it. Fields are named by dotted keys (`ttt.lr`, `model.rope_base`) in
search spaces, in `--set`, in column names and in messages.

How and where a run is executed (world size, device, attention back end, library versions) is recorded with the run; it
is not part of the recipe and enters no fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from pydantic import Field as PydanticField

from trainer.spec.errors import did_you_mean
from trainer.spec.limits import Budget
from trainer.spec.quantization import Quantization
from trainer.spec.section import Fraction, Knob, Section
from trainer.spec.tensors import BIGRAM_PROJECTION, BIGRAM_TABLE, BLOCK_MATRICES, HEAD, VALUE_PROJECTION, VALUE_TABLE

Layers = Annotated[tuple[NonNegativeInt, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)]
NO_BIGRAM = {"model.bigram_buckets": 0}
NO_TTT = {"ttt.mode": "off"}
NO_SWA = {"averaging.swa_every": 0}
NO_VALUE_EMBED = {"model.value_embed_dim": 0}
NO_RECURRENCE = {"model.recur_loops": 0}


class Model(Section):
    """Shape of the GPT (docs/recipe.md 2.1-2.9)."""

    num_layers: Annotated[PositiveInt, Knob("train", "layers")] = 11
    """Transformer blocks; the first half feeds skips to the second."""
    model_dim: Annotated[PositiveInt, Knob("train")] = 512
    """Width of the residual stream."""
    num_heads: Annotated[PositiveInt, Knob("train")] = 8
    """Query heads."""
    num_kv_heads: Annotated[PositiveInt, Knob("train")] = 4
    """Key and value heads; consecutive query heads share one."""
    mlp_hidden: Annotated[PositiveInt, Knob("train")] = 1536
    """Hidden width of each MLP."""
    activation: Annotated[Literal["relu2", "leaky_relu2"], Knob("train")] = "relu2"
    """MLP non-linearity: squared ReLU, or squared leaky ReLU with slope 0.5."""
    tie_embeddings: Annotated[bool, Knob("train")] = True
    """Whether the output head is the token embedding."""
    embed_init_std: Annotated[PositiveFloat, Knob("train")] = 0.005
    """Standard deviation of the token embedding at the start."""
    logit_softcap: Annotated[PositiveFloat, Knob("train")] = 30.0
    """Logits are c * tanh(z / c) with this c."""
    qk_gain_init: Annotated[PositiveFloat, Knob("train")] = 1.5
    """Start value of the learned gain on each query head."""
    rope_base: Annotated[PositiveFloat, Knob("train")] = 10_000.0
    """Base of the rotary angles."""
    rope_dims: Annotated[NonNegativeInt, Knob("train")] = 0
    """Rotated dimensions of each head; 0 rotates all."""
    rope_native_tokens: Annotated[NonNegativeInt, Knob("train", "tokens")] = 0
    """Length the rotary base is meant for; longer inputs get the NTK rescale. 0 never rescales."""
    xsa_layers: Annotated[Layers, Knob("train")] = ()
    """Layers with exclusive self-attention, counted from 0."""
    ln_scale: Annotated[bool, Knob("train")] = False
    """Whether block i scales its normed inputs by 1/sqrt(i+1)."""
    smear_gate: Annotated[Literal["off", "vector"], Knob("train")] = "vector"
    """Learned blend of each token's embedding with its predecessor's."""
    bigram_buckets: Annotated[NonNegativeInt, Knob("train")] = 2048
    """Rows of the hashed bigram table; 0 leaves it out."""
    bigram_dim: Annotated[PositiveInt, Knob("train", unless=NO_BIGRAM)] = 128
    """Width of the bigram table, projected to the model width unless equal to it."""
    bigram_first: Annotated[Literal["reserved", "zero"], Knob("train", unless=NO_BIGRAM)] = "reserved"
    """Bucket of position 0: the reserved last one, or the hash with a zero predecessor (PR #150's checkpoints)."""
    bigram_projection_init: Annotated[
        Literal["scaled", "orthogonal"], Knob("train", unless=NO_BIGRAM, neutral=True)
    ] = "scaled"
    """Start of the bigram projection: orthogonal over the root of twice the layers, or orthogonal as it is (#549)."""
    value_embed_dim: Annotated[NonNegativeInt, Knob("train", neutral=True)] = 0
    """Width of a second token table that is added to the values of some layers, projected if not as wide; 0: none."""
    value_embed_layers: Annotated[Layers, Knob("train", unless=NO_VALUE_EMBED, neutral=True)] = ()
    """Layers whose values get the second table, counted from 0."""
    skip_gates: Annotated[bool, Knob("train", neutral=True)] = False
    """Whether a learned gate blends each skip with the stream instead of adding it."""
    parallel_residual: Annotated[Literal["off", "one_lane"], Knob("train", neutral=True)] = "off"
    """Whether later blocks feed attention and MLP the same input and add both at once."""
    parallel_from: Annotated[
        NonNegativeInt, Knob("train", "layers", unless={"model.parallel_residual": "off"}, neutral=True)
    ] = 7
    """First layer with the parallel residual, counted from 0."""
    recur_loops: Annotated[NonNegativeInt, Knob("train", neutral=True)] = 0
    """How often the recurrent layers are run again; 0 runs every layer once. Scoring always loops."""
    recur_first: Annotated[NonNegativeInt, Knob("train", "layers", unless=NO_RECURRENCE, neutral=True)] = 4
    """First recurrent layer, counted from 0."""
    recur_last: Annotated[NonNegativeInt, Knob("train", "layers", unless=NO_RECURRENCE, neutral=True)] = 5
    """Last recurrent layer."""
    recur_at: Annotated[Fraction, Knob("train", unless=NO_RECURRENCE, neutral=True)] = 0.5
    """Used fraction of the training budget from which training loops too."""
    init: Annotated[Literal["default", "orthogonal"], Knob("train")] = "orthogonal"
    """Start of the linear weights that are not zero: framework default, or orthogonal."""
    compute_dtype: Annotated[Literal["float32", "bfloat16"], Knob("train")] = "bfloat16"
    """Arithmetic of activations in training and scoring; weights are float32 masters."""

    def matrix_names(self) -> list[str]:
        """Names of all matrices but the token embedding, as checkpoints have them."""
        names = [f"blocks.{layer}.{leaf}.weight" for layer in range(self.num_layers) for leaf in BLOCK_MATRICES]
        if self.bigram_buckets:
            names += [BIGRAM_TABLE] + [BIGRAM_PROJECTION] * (self.bigram_dim != self.model_dim)
        if self.value_embed_dim and self.value_embed_layers:
            kv_dim = self.model_dim // self.num_heads * self.num_kv_heads
            names += [VALUE_TABLE] + [VALUE_PROJECTION] * (self.value_embed_dim != kv_dim)
        return names if self.tie_embeddings else [*names, HEAD]

    def complaints(self) -> Iterator[str]:
        if self.model_dim % self.num_heads:
            yield f"num_heads = {self.num_heads} does not divide model_dim = {self.model_dim}"
        if self.num_heads % self.num_kv_heads:
            yield f"num_kv_heads = {self.num_kv_heads} does not divide num_heads = {self.num_heads}"
        head_dim = self.model_dim // self.num_heads
        rotated = self.rope_dims or head_dim
        if rotated % 2 or rotated > head_dim:
            yield f"rope_dims = {self.rope_dims} must be even and at most the head width, {head_dim}"
        if self.bigram_buckets == 1:
            yield "bigram_buckets = 1 leaves no bucket to hash into; use 0 (off) or at least 2"
        for name in ("xsa_layers", "value_embed_layers"):
            layers = getattr(self, name)
            if any(layer >= self.num_layers for layer in layers):
                yield f"{name} = {list(layers)} names a layer beyond num_layers - 1 = {self.num_layers - 1}"
            if len(set(layers)) != len(layers):
                yield f"{name} = {list(layers)} names a layer twice"
        if self.value_embed_dim and not self.value_embed_layers:
            yield "value_embed_layers = [] leaves the value embedding unused; usual: the last layers but one"
        if self.recur_loops and not self.recur_first <= self.recur_last < self.num_layers:
            yield f"recur_first = {self.recur_first} to recur_last = {self.recur_last} is no range of the layers"
        if self.parallel_residual != "off" and self.parallel_from >= self.num_layers:
            yield f"parallel_from = {self.parallel_from} lies beyond num_layers - 1 = {self.num_layers - 1}"


class Data(Section):
    """Which text, cut how (docs/recipe.md 1.5 and 3.3)."""

    source: Annotated[Literal["stdlib", "shards"], Knob("train_text val_text")] = "stdlib"
    """The Python standard library's own text, or a folder of shards in the challenge's format."""
    folder: Annotated[str, Knob("", unless={"data.source": "stdlib"})] = ""
    """Folder of `fineweb_train_*.bin` and `fineweb_val_*.bin`; what it holds is hashed, not where it lies."""
    tokenizer: Annotated[str, Knob("", unless={"data.source": "stdlib"})] = ""
    """SentencePiece model of the shards; what it holds is hashed, not where it lies."""
    vocab_size: Annotated[PositiveInt, PydanticField(le=65_536), Knob("train_text val_text", "tokens")] = 1024
    """Pieces of the tokenizer; trained to this size from the train text when the source is `stdlib`."""
    val_bytes: Annotated[NonNegativeInt, Knob("val_text", "bytes", unless={"data.source": "shards"})] = 0
    """Most UTF-8 bytes of validation text, cut at a document's end (at least one document); 0 takes all of it."""
    loader: Annotated[Literal["sequential", "shuffled", "coprime"], Knob("train")] = "sequential"
    """Order of the training rows: as the shards hold them, shuffled, or each shard's at a coprime stride (#726)."""
    order_seed: Annotated[NonNegativeInt | Literal["lineage"] | None, Knob("train")] = None
    """Seed of the data order; null takes the run's seed, `lineage` starts at the first token as the originals did."""
    train_seq_len: Annotated[PositiveInt, Knob("train", "tokens")] = 2048
    """Length of a training row."""
    train_batch_tokens: Annotated[PositiveInt, Knob("train", "tokens")] = 786_432
    """Tokens of one optimiser step, over all ranks."""
    micro_batches: Annotated[PositiveInt, Knob("train")] = 8
    """Equal parts of a step's batch, accumulated; the number of ranks must divide it."""

    def complaints(self) -> Iterator[str]:
        if self.source == "shards":
            for name in ("folder", "tokenizer"):
                if not getattr(self, name):
                    yield f"{name} = '' must name a path while source is 'shards'"
        elif self.vocab_size < 300:
            yield f"vocab_size = {self.vocab_size} is too small for the {256 + 4} byte and control pieces; usual: 1024"
        if self.loader != "sequential" and self.order_seed == "lineage":
            yield (
                f"order_seed = 'lineage' is no order of loader = '{self.loader}': the originals' depends on the number "
                "of ranks (each shuffles its own files by its rank); give a number, or null for the run's seed"
            )
        if self.train_batch_tokens % (self.micro_batches * self.train_seq_len):
            yield (
                f"train_batch_tokens = {self.train_batch_tokens} is no multiple of "
                f"micro_batches x train_seq_len = {self.micro_batches} x {self.train_seq_len}"
            )

    def unshared_by(self, num_ranks: int) -> str:
        """Why so many ranks cannot train it, and how many can; empty if they can. The loader refuses them too."""
        if self.micro_batches % num_ranks == 0:
            return ""
        fitting = ", ".join(str(ranks) for ranks in range(1, num_ranks) if self.micro_batches % ranks == 0)
        return (
            f"data.micro_batches = {self.micro_batches} cannot be shared equally by {num_ranks} ranks; take a number "
            f"of ranks that divides it ({fitting}), or a multiple of {num_ranks} as data.micro_batches"
        )


class Muon(Section):
    """The matrix optimiser (docs/recipe.md 3.1)."""

    lr: Annotated[PositiveFloat, Knob("train")] = 0.025
    """Learning rate of matrix parameters before the schedule's multiplier."""
    weight_decay: Annotated[NonNegativeFloat, Knob("train")] = 0.04
    """Decoupled decay, multiplied by the scheduled learning rate."""
    momentum: Annotated[Fraction, Knob("train")] = 0.99
    """Momentum after its warm-up (a sum, not a mean)."""
    momentum_start: Annotated[Fraction, Knob("train", unless={"optimizer.muon.momentum_warmup_steps": 0})] = 0.92
    """Momentum at step 0."""
    momentum_warmup_steps: Annotated[NonNegativeInt, Knob("train", "steps")] = 1500
    """Steps from the start momentum to the final one, linearly."""
    ns_steps: Annotated[PositiveInt, PydanticField(le=5), Knob("train")] = 5
    """Newton-Schulz iterations."""
    ns_coefficients: Annotated[Literal["fixed", "polar_express"], Knob("train")] = "fixed"
    """One triple for every iteration, or the Polar-Express triple of each."""
    ns_dtype: Annotated[Literal["bfloat16", "float32"], Knob("train")] = "bfloat16"
    """Arithmetic of the Newton-Schulz iterations."""
    row_normalize: Annotated[bool, Knob("train")] = False
    """Whether each row of the update is normalised first (MuonEq-R)."""


class Adam(Section):
    """The optimiser of embeddings, scalars and the head (docs/recipe.md 3.2)."""

    embed_lr: Annotated[PositiveFloat, Knob("train")] = 0.035
    """Learning rate of the token embedding, and of the bigram table while `optimizer.bigram_table` is embed."""
    scalar_lr: Annotated[PositiveFloat, Knob("train")] = 0.025
    """Learning rate of everything with fewer than two dimensions and of the control tensors."""
    head_lr: Annotated[PositiveFloat, Knob("train", unless={"model.tie_embeddings": True})] = 0.008
    """Learning rate of an untied head."""
    beta1: Annotated[Fraction, Knob("train")] = 0.9
    """Decay of the first moment."""
    beta2: Annotated[Fraction, Knob("train")] = 0.95
    """Decay of the second moment."""
    eps: Annotated[PositiveFloat, Knob("train")] = 1e-8
    """Added to the root of the second moment."""
    embed_weight_decay: Annotated[NonNegativeFloat, Knob("train")] = 0.0
    """Decoupled decay of the embedding group."""
    scalar_weight_decay: Annotated[NonNegativeFloat, Knob("train")] = 0.0
    """Decoupled decay of the scalar group."""


class Optimizer(Section):
    """Muon for matrices, Adam for the rest."""

    muon: Muon = Muon()
    """The matrix optimiser."""
    adam: Adam = Adam()
    """The optimiser of embeddings, scalars and the head."""
    bigram_table: Annotated[Literal["embed", "scalar"], Knob("train", unless=NO_BIGRAM, neutral=True)] = "embed"
    """Learning rate and decay of the bigram table: those of the token embedding, or of the scalars (PR #150)."""
    embed_projections: Annotated[Literal["muon", "adam"], Knob("train", neutral=True)] = "muon"
    """Who trains the projections of the bigram and value tables: Muon, or Adam at the scalar learning rate."""
    grad_clip: Annotated[NonNegativeFloat, Knob("train")] = 0.3
    """Largest global gradient norm, after accumulation and reduction; 0 never clips."""


class Schedule(Section):
    """Learning-rate multiplier over the run (docs/recipe.md 3.4)."""

    form: Annotated[Literal["iterations", "fraction"], Knob("train")] = "iterations"
    """Whether the warm-down is counted in steps or as a fraction of the budget."""
    warmdown_steps: Annotated[NonNegativeInt, Knob("train", "steps", unless={"schedule.form": "fraction"})] = 3000
    """Last steps over which the multiplier falls linearly."""
    warmdown_fraction: Annotated[Fraction, Knob("train", unless={"schedule.form": "iterations"})] = 0.667
    """Last part of the budget over which the multiplier falls linearly."""
    min_multiplier: Annotated[Fraction, Knob("train")] = 0.0
    """Floor of the multiplier."""


class Averaging(Section):
    """Averages of the weights along the run (docs/recipe.md 3.6)."""

    use: Annotated[Literal["none", "swa", "ema"], Knob("export")] = "swa"
    """Which weights are exported: the last ones, the mean of snapshots, or the moving average."""
    swa_every: Annotated[NonNegativeInt, Knob("train", "steps")] = 50
    """Steps between snapshots; 0 keeps none."""
    swa_below: Annotated[Fraction, Knob("train", unless=NO_SWA)] = 0.5
    """Snapshots are taken while the learning-rate multiplier is below this."""
    swa_min_step: Annotated[NonNegativeInt, Knob("train", "steps", unless=NO_SWA)] = 20
    """No snapshot before this step, whatever the multiplier says."""
    ema_decay: Annotated[Fraction, Knob("train")] = 0.0
    """Decay of the moving average per step; 0 keeps none."""

    def complaints(self) -> Iterator[str]:
        if self.use == "swa" and self.swa_every == 0:
            yield "use = 'swa' needs snapshots, but swa_every = 0; usual: 50"
        if self.use == "ema" and self.ema_decay == 0:
            yield "use = 'ema' needs a moving average, but ema_decay = 0; usual: 0.997"
        if self.ema_decay == 1:
            yield "ema_decay = 1 never moves; usual: 0.997"


class Evaluation(Section):
    """Scoring of the validation text (docs/recipe.md 5.1, 5.2)."""

    window_tokens: Annotated[PositiveInt, Knob("evaluate adapt diagnose", "tokens")] = 2048
    """Length of a scoring window."""
    stride_tokens: Annotated[PositiveInt, Knob("evaluate adapt", "tokens")] = 64
    """New tokens each window scores; the rest is context."""
    batch_windows: Annotated[PositiveInt, Knob("evaluate adapt diagnose", "windows")] = 32
    """Windows of one forward pass."""
    diagnose: Annotated[bool, Knob("")] = False
    """Whether to score the weights before and after quantisation as well, outside every budget; on under fit_bytes."""

    def complaints(self) -> Iterator[str]:
        if self.stride_tokens > self.window_tokens:
            yield (
                f"stride_tokens = {self.stride_tokens} exceeds "
                f"evaluation.window_tokens = {self.window_tokens}; usual: 64"
            )


class TTT(Section):
    """Test-time training: learning from validation tokens that were already scored (docs/recipe.md 5.3)."""

    mode: Annotated[Literal["off", "score_first", "pre_eval"], Knob("adapt")] = "off"
    """Off; chunk by chunk, score first, then learn; or learn the whole text before scoring it, which is illegal."""
    lr: Annotated[PositiveFloat, Knob("adapt", unless=NO_TTT)] = 0.002
    """SGD learning rate; score first decays it by a cosine over the chunks."""
    epochs: Annotated[PositiveInt, Knob("adapt", unless=NO_TTT)] = 3
    """Passes over each scored chunk, or over the whole text."""
    momentum: Annotated[Fraction, Knob("adapt", unless=NO_TTT)] = 0.9
    """SGD momentum; its buffers persist over chunks."""
    chunk_tokens: Annotated[PositiveInt, Knob("adapt", "tokens", unless={"ttt.mode": ("off", "pre_eval")})] = 32_768
    """Tokens scored before the model may learn from them."""
    batch_rows: Annotated[PositiveInt, Knob("adapt", "rows", unless=NO_TTT)] = 256
    """Rows of one TTT step, over all ranks."""
    frozen_blocks: Annotated[NonNegativeInt, Knob("adapt", "layers", unless=NO_TTT)] = 0
    """First blocks that do not learn."""
    grad_clip: Annotated[NonNegativeFloat, Knob("adapt", unless=NO_TTT)] = 1.0
    """Largest global gradient norm of a TTT step; 0 never clips."""


class System(Section):
    """Execution that changes the last bits of the answer; all other execution is recorded, and no field."""

    compile: Annotated[Literal["auto", "on", "off"], Knob("train", neutral=True)] = "auto"
    """Whether training is compiled before its clock starts; auto: on GPUs, by the clock or from 500 steps on."""


class Recipe(Section):
    """One way to train, compress and score a model; with a seed, one run."""

    model: Model = Model()
    """Shape of the network."""
    data: Data = Data()
    """Text and batches."""
    optimizer: Optimizer = Optimizer()
    """Muon and Adam."""
    schedule: Schedule = Schedule()
    """Learning rate over the run."""
    averaging: Averaging = Averaging()
    """SWA and EMA."""
    quantization: Quantization = Quantization()
    """Integers and compression."""
    evaluation: Evaluation = Evaluation()
    """Sliding-window scoring."""
    ttt: TTT = TTT()
    """Test-time training."""
    budget: Budget
    """Bytes, steps and seconds."""
    system: System = System()
    """Compiled or not."""
    seed: Annotated[NonNegativeInt, PydanticField(lt=2**31), Knob("train export adapt")] = 1337
    """The one source of randomness of a run."""

    def complaints(self) -> Iterator[str]:
        if self.ttt.mode == "score_first" and self.ttt.chunk_tokens < self.evaluation.window_tokens:
            yield (
                f"ttt.chunk_tokens = {self.ttt.chunk_tokens} holds no row of evaluation.window_tokens = "
                f"{self.evaluation.window_tokens}, so nothing would be learned; usual: 32768"
            )
        if self.ttt.frozen_blocks > self.model.num_layers:
            yield (f"ttt.frozen_blocks = {self.ttt.frozen_blocks} exceeds model.num_layers = {self.model.num_layers}")
        known = self.model.matrix_names()
        for name in self.quantization.keep_float16:
            if name not in known:
                yield (
                    f"quantization.keep_float16 = {list(self.quantization.keep_float16)} names '{name}', which is no "
                    f"matrix of this model{did_you_mean(name, known)}"
                )
