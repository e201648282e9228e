"""Compressed streams and `torch.save` containers of unknown origin: their sizes are checked before memory is taken.

What a stream claims is compared with the limit, and what it holds is produced up to one byte beyond it. Of a container
the directory and the pickle's opcodes are read, nothing else, before torch may unpickle it.
"""

from __future__ import annotations

import io
import lzma
import pickletools
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import brotli
import zstandard
from torch import Tensor

from trainer.spec.errors import ArtifactError
from trainer.spec.units import human_bytes

LARGEST_CONTENT_BYTES = 2**28
"""Larger content of a 16 MB artifact, or of a checkpoint that makes one, is refused: it is damage or an attack."""
LARGEST_STATE_BYTES = 2**29
"""Of all tensors as float32: more parameters than fit an artifact at one bit each."""
MOST_ENTRIES, LARGEST_PICKLE_BYTES = 50_000, 2**22
"""Of a container: tensors, and the names and shapes of them."""
CHUNK_BYTES = 2**20
ENTRY_MAGIC = b"PK\x01\x02"
KNOWN_GLOBALS = ("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "collections OrderedDict")
"""What the pickle of dense tensors and plain values names, besides the types of storages and numbers in `torch`."""
NUMBERS = ("float32", "float16", "bfloat16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool", "Size")
DAMAGED_ZIP = (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, ValueError, zlib.error)
"""What `zipfile` raises for bytes that are no sound archive: RuntimeError means encrypted, ValueError bad numbers."""


@dataclass(frozen=True)
class Expanded:
    """Content of a stream; one byte beyond the limit says that there is more."""

    content: bytes
    is_whole: bool
    """Whether the stream ends, and where the bytes do."""


def unzstd(stream: bytes, most: int) -> Expanded:
    """One Zstandard frame; raises ArtifactError for a frame that claims more than `most`."""
    claimed = zstandard.frame_content_size(stream)
    if claimed > most:
        raise ArtifactError(f"a frame claims {human_bytes(claimed)}; at most {human_bytes(most)} are read")
    if claimed >= 0:
        return Expanded(zstandard.ZstdDecompressor().decompress(stream, allow_extra_data=False), True)
    reader, content, left = zstandard.ZstdDecompressor().stream_reader(stream), io.BytesIO(), most + 1
    while left and (part := reader.read(min(left, CHUNK_BYTES))):
        left -= content.write(part)
    return Expanded(content.getvalue(), True)


def unlzma(stream: bytes, most: int) -> Expanded:
    """An xz stream; its dictionary is no larger than the largest content."""
    decoder = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=LARGEST_CONTENT_BYTES)
    content = decoder.decompress(stream, max_length=most + 1)
    return Expanded(content, decoder.eof and not decoder.unused_data)


def unzlib(stream: bytes, most: int) -> Expanded:
    """A zlib stream."""
    decoder = zlib.decompressobj()
    content = decoder.decompress(stream, most + 1)
    return Expanded(content, decoder.eof and not decoder.unused_data)


def unbrotli(stream: bytes, most: int) -> Expanded:
    """A Brotli stream."""
    decoder = brotli.Decompressor()
    content = decoder.process(stream, output_buffer_limit=most + 1)
    return Expanded(content, decoder.is_finished())


def expand(expander: Callable[[bytes, int], Expanded], stream: bytes, most: int) -> Expanded:
    """The content of a stream. Raises ArtifactError if it is larger than `most`, which is never produced."""
    expanded = expander(stream, most)
    if len(expanded.content) > most:
        raise ArtifactError(f"the content is more than {human_bytes(most)}; that is not read")
    return expanded


def require_plain_container(data: bytes) -> None:
    """Raises ArtifactError unless `data` is what `torch.save` writes for dense tensors and plain values.

    Sparse, nested, quantised and meta tensors are refused, and sizes beyond the limits.
    """
    if data.count(ENTRY_MAGIC) > MOST_ENTRIES:
        raise ArtifactError(f"it holds more than {MOST_ENTRIES:,} entries")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as container:
            entries = container.infolist()
            if (claimed := sum(entry.file_size for entry in entries)) > LARGEST_CONTENT_BYTES:
                raise ArtifactError(f"it claims {human_bytes(claimed)}; at most {human_bytes(LARGEST_CONTENT_BYTES)}")
            pickles = [entry for entry in entries if entry.filename.lower().endswith("data.pkl")]
            if len(pickles) != 1 or pickles[0].file_size > LARGEST_PICKLE_BYTES:
                raise ArtifactError(f"it holds {len(pickles)} lists of tensors; expected one of at most 4 MiB")
            _require_known_globals(container.read(pickles[0]))
    except ArtifactError:
        raise
    except DAMAGED_ZIP as error:
        raise ArtifactError(f"no container of torch.save: {error}") from error


def _require_known_globals(pickled: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            is_type = module == "torch" and (name.endswith("Storage") or name in NUMBERS)
            if not is_type and argument not in KNOWN_GLOBALS:
                raise ArtifactError(f"it holds {module}.{name}; expected dense tensors and plain values")
        elif opcode.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
            raise ArtifactError(f"it holds the opcode {opcode.name}; expected dense tensors and plain values")


def require_state_size(tensors: Iterable[Tensor]) -> None:
    """Raises ArtifactError if the tensors would take more than LARGEST_STATE_BYTES as float32."""
    claimed = sum(4 * tensor.numel() for tensor in tensors)
    if claimed > LARGEST_STATE_BYTES:
        raise ArtifactError(
            f"its tensors would take {human_bytes(claimed)} as float32; at most {human_bytes(LARGEST_STATE_BYTES)}"
        )


def all_tensors(content: Mapping[str, object]) -> list[Tensor]:
    """The tensors of a container, those one level down too."""
    values = [*content.values()]
    values += [below for value in values if isinstance(value, Mapping) for below in value.values()]
    return [value for value in values if isinstance(value, Tensor)]
