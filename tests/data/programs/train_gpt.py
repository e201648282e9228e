"""A train_gpt.py in the shape of the contest's: torchrun, gloo on a CPU, knobs in the environment, the contest's lines.

A bigram table over bytes, trained with gradients that are averaged over the ranks; the weights are rounded to int8,
compressed, and the score is that of what was written. With LOAD=1 it scores the file that it finds.
"""

import os
import time
import zlib

import torch
import torch.distributed as dist

SEED = int(os.environ.get("SEED", "1337"))
ITERATIONS = int(os.environ.get("ITERATIONS", "30"))
MATRIX_LR = float(os.environ.get("MATRIX_LR", "0.5"))
MOMENTUM = float(os.environ.get("MOMENTUM", "0.9"))
EVAL_TEMPERATURE = float(os.environ.get("EVAL_TEMPERATURE", "1.0"))
EVAL_SHARPNESS = float(os.environ.get("EVAL_SHARPNESS", "1.0"))
NAP_S = float(os.environ.get("NAP_S", "0"))
ARTIFACT = "final_model.int8.ptz"


def log0(words, rank):
    if rank == 0:
        print(words, flush=True)


def main():
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    with open(os.__file__, "rb") as file:
        text = torch.tensor(list(file.read()))
    train, val = text[4000:], text[:4000]
    code_bytes = os.path.getsize(__file__)
    if os.environ.get("LOAD") != "1":
        train_model(train, rank, ranks)
        log0(f"Code size: {code_bytes} bytes", rank)
        log0(
            f"Total submission size int8+zlib: {os.path.getsize(ARTIFACT) + code_bytes} bytes" if rank == 0 else "",
            rank,
        )
    dist.barrier()
    began = time.perf_counter()
    with open(ARTIFACT, "rb") as file:
        table = torch.frombuffer(bytearray(zlib.decompress(file.read())), dtype=torch.int8).view(256, 256).float() / 16
    loss = torch.nn.functional.cross_entropy(table[val[:-1]] * EVAL_SHARPNESS / EVAL_TEMPERATURE, val[1:])
    ms = 1000 * (time.perf_counter() - began)
    log0(f"final_int8_zlib_roundtrip val_loss:{loss:.4f} val_bpb:{loss / 0.693147:.4f} eval_time:{ms:.0f}ms", rank)
    log0(f"final_int8_zlib_roundtrip_exact val_loss:{loss:.8f} val_bpb:{loss / 0.69314718:.8f}", rank)
    dist.destroy_process_group()


def train_model(text, rank, ranks):
    table = torch.nn.Parameter(torch.randn(256, 256) * 0.02)
    optimizer = torch.optim.SGD([table], lr=MATRIX_LR * 256, momentum=MOMENTUM)
    draw = torch.Generator().manual_seed(SEED * 100 + rank)
    began = time.perf_counter()
    for step in range(1, ITERATIONS + 1):
        at = torch.randint(len(text) - 1, (512,), generator=draw)
        loss = torch.nn.functional.cross_entropy(table[text[at]], text[at + 1])
        optimizer.zero_grad()
        loss.backward()
        dist.all_reduce(table.grad)
        table.grad /= ranks
        optimizer.step()
        time.sleep(NAP_S / ITERATIONS)
        if step % 5 == 0:
            ms = 1000 * (time.perf_counter() - began)
            line = f"step:{step}/{ITERATIONS} train_loss:{loss.item():.4f} train_time:{ms:.0f}ms"
            line += f" step_avg:{ms / step:.2f}ms"
            log0(line, rank)
    log0(f"step:{ITERATIONS}/{ITERATIONS} val_loss:9.0000 val_bpb:9.0000 train_time:{ms:.0f}ms step_avg:1.00ms", rank)
    log0("peak memory allocated: 12 MiB reserved: 20 MiB", rank)
    if rank == 0:
        codes = (table.detach() * 16).round().clamp(-127, 127).to(torch.int8)
        with open(ARTIFACT, "wb") as file:
            file.write(zlib.compress(codes.numpy().tobytes(), 9))
        log0(f"Serialized model int8+zlib: {os.path.getsize(ARTIFACT)} bytes", rank)


if __name__ == "__main__":
    main()
