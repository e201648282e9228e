"""Two search spaces that overlap, for drivers and machines that meet on one store."""

SPACE = """
name: {name}
preset: tiny
seeds: [1, 2]
parameters:
  ttt.mode: {{value: score_first}}
  ttt.lr: {{values: {rates}}}
compare: {{baseline: {{ttt.mode: off}}}}
"""


def space(name: str, rates: list[float]) -> str:
    """A baseline and a configuration per learning rate of test-time training, on two seeds."""
    return SPACE.format(name=name, rates=rates)


def settings(train_steps: int) -> list[str]:
    """Options that make a run small, on a text of several chunks, so that test-time training acts."""
    small = (
        f"budget.train_steps={train_steps}",
        f"schedule.warmdown_steps={train_steps * 2 // 5}",
        "averaging.use=none",
        "data.val_bytes=9000",
        "ttt.chunk_tokens=1024",
        "evaluation.diagnose=false",
    )
    return [word for setting in small for word in ("--set", setting)]
