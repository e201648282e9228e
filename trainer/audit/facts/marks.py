"""The marks that values of a script bear: one list of their names, with what each says.

A mark is a word, or a word with what it is about: `cut:12` was cut in line 12, `mass:1.0` sums to one. Those that stay
are borne by whatever is computed from a marked value as well; the others say something of the value itself alone. Each
group names the module that sets and reads most of it.
"""

from __future__ import annotations

from collections.abc import Mapping

OF_THE_VALUE: Mapping[str, str] = {
    # numbers and conditions (effects/arithmetic.py)
    "scalar": "one number, not a tensor",
    "mask": "a condition on each place of a tensor",
    "places": "the places where a condition holds",
    "shape": "the sizes of a tensor",
    "threshold": "a comparison of a score with something that is none",
    "boundary": "a comparison of tokens with a known one, as with the token that begins documents",
    "is": "is:TEXT, a condition that a name holds TEXT",
    "isnt": "isnt:TEXT, a condition that a name does not hold TEXT",
    "ends": "ends:TEXT, a condition that a name ends in TEXT",
    "either": "either:LINE, both branches of a condition were joined there",
    # positions that loops count (effects/chunk_borders.py)
    "grid": "grid:FIRST:STEP, FIRST more than a multiple of STEP; of each of the values that it may be",
    "cell": "cell:FIRST:STEP:SIZE, the number of the chunk of SIZE in which such a position lies; of each value",
    "span": "span:NUMBER, how far two such numbers lie apart; of each value",
    # distributions over the vocabulary (effects/mixtures.py, effects/gates.py)
    "probability": "a distribution, or its part at some tokens",
    "logs": "the logarithm of one",
    "weighted": "a distribution times a weight, or a sum of such",
    "mass": "mass:NUMBER, what it sums to",
    "power": "a logarithm times a number below one, or a distribution to such a power",
    "raised": "of which it is the distribution",
    "powers": "powers:LINE, several of them multiplied",
    "costs": "minus the logarithm of a distribution",
    "scaled": "a product",
    "summed": "a sum",
    "gate": "gate:NAME, the sigmoid of NAME",
    "rest": "rest:NAME, one minus the sigmoid of NAME",
    "by": "by:GATE, weighed by that gate",
    "minus": "minus:NUMBER, the negative of the value of that number",
    "named": "named:NAME, the attribute of that name of a model",
    # probabilities of a token spread over its bytes (effects/spread_over_bytes.py)
    "piece": "the bytes of a token, whose length is their number",
    "spread": "spread:LINE, a logarithm that was divided by a token's bytes",
    "shared": "shared:LINE, the probability of which that is the logarithm",
    "larger": "larger:LINE, the larger of such a logarithm and another model's",
    "blend": "blend:LINE, such a probability mixed with another model's",
    # tokens that begin documents (effects/document_begins.py)
    "bos": "the id of BOS, as the tokenizer says it",
    "isbos": "a condition that holds where a token is BOS",
    "nobos": "a condition that holds where a token is not BOS",
    # lengths of documents (effects/document_lengths.py)
    "document": "what the borders of a document cut out",
    "length": "a comparison of a document's length with a number",
    "long": "long:TOKENS, such a comparison, true of documents of at least so many",
    "brief": "brief:TOKENS, such a comparison, true of shorter ones",
    "entire": "the slice of a text from one border of documents to the next",
    # limits of what is scored (effects/cut_short.py)
    "most": "most:LINE:NUMBER:KIND, a number or the length of a list of KIND that a limit keeps from more",
    "size": "the length of a list (effects/portions.py)",
    "chunks": "how many chunks a text has, with the last one (effects/portions.py)",
    "portion": "portion:LINE:RATIO:OF, a part of such a length or size, or a list cut to it; of each value",
    "tail": "tail:LINE:SIZE, how many whole chunks of SIZE a text has; of each value",
    "back": "back:NUMBER, so many places before the end of a window (effects/strides.py)",
    # windows in a batch (effects/rows.py)
    "flat": "a share of the text, in which positions are counted from its start",
    "batch": "windows put together, of which the first dimension counts rows",
    # tables (effects/indexing.py)
    "pair": "looked up by two tokens",
    "several": "distributions put together (effects/mixtures.py)",
    # bytes that a file holds for each token (effects/side_cars.py)
    "cutout": "cutout:NUMBER, the slice of a text whose length the machine keeps under that number",
    # where the next document begins (effects/bent_logits.py)
    "following": "following:NUMBER, the place of the next border in the table of that number",
    # ranks (effects/shares_of_ranks.py)
    "itself": "the number of this rank, not something computed from it",
    "alone": "alone:BRANCH, a condition of which one rank alone takes that branch",
    "turn": "a condition by which each rank takes its turn",
    # objects (effects/known_calls.py, walk/methods.py)
    "ddp": "a model wrapped for several ranks",
    "schedule": "a scheduler of learning rates",
    "hook": "the handle of a hook",
    "ranked": "scores put in order",
}
STAYING: Mapping[str, str] = {
    # where its tokens come from, and which of them it is of (effects/indexing.py, positions.py, chunk_borders.py)
    "cut": "cut:LINE, the whole text up to a fixed position",
    "behind": "behind:LINE, the text behind a fixed position",
    "drawn": "drawn:LINE, a random part of a text",
    "partial": "partial:LINE:OF, of an element of a list that is a portion there (effects/portions.py)",
    "random": "a random number",
    "window": "window:LINE, cut out of a text there",
    "part": "part:NUMBER, of a part of a window's losses or targets, which the trace keeps under that number",
    "edge": "edge:FIRST:STEP, of a slice that begins or ends at such a counted position",
    "remainder": "computed from the remainder of a counted position (effects/strides.py)",
    "apart": "apart:LINE:MISSING, a part of a window, so many fewer tokens than windows are apart",
    "gap": "gap:LINE:MISSING, losses of windows that leave so many targets between them",
    "rows": "rows:NUMBER, windows put together, whose places the trace keeps under that number (effects/rows.py)",
    "goals": "goals:NUMBER, scores of which such rows are the targets",
    "under": "under:NUMBER, windows that are filed under the chunk of that number",
    "row": "the distribution of one row of a table, or its entry at the target",
    "border": "the positions where documents begin",
    "measured": "the length of a document",
    "short": "short:LINE, kept by the condition on a document's length there",
    "stored": "read from a file",
    "equal": "equal:LINE, a comparison of validation tokens with what was stored",
    "restarted": "a number that an iteration sets anew",
    "bounded": "a position that may be another than its number says",
    "capped": "capped:PIECE, at most the end of that piece",
    "floored": "at least zero",
    # inputs and targets, and whose bytes are counted (effects/sides.py)
    "input": "input:WINDOW, the inputs of that window",
    "target": "target:WINDOW, its targets",
    "early": "early:WINDOW, its inputs one place earlier",
    "from": "from:NUMBER, the text between two ends, which the machine keeps under that number",
    "pays": "pays:SIDE, bytes of that side's tokens",
    "sumpays": "sumpays:SIDE, a sum of such bytes",
    "bytes": "a number of bytes, or computed with one",
    "sized": "sized:LINE, looked up in a table of sizes there",
    "carried": "carried:NUMBER, the sum of such a slice, which holds bytes and no ids",
    "extent": "extent:NUMBER, the slice of losses whose length the machine keeps under that number",
    "table": "table:TABLE, looked up in that list",
    "space": "space:TABLE, an entry of that list where a condition on the token before it holds",
    "ln2": "computed with the logarithm of two",
    "multiplied": "multiplied:KIND:LINE, a count of that kind times a number (effects/factors.py)",
    "widened": "widened:LINE, the bytes of each token and a number (effects/factors.py)",
    "rescaled": "rescaled:LINE, bits times a number (effects/factors.py)",
    "fixed": "fixed:LINE, bits divided by a fixed number of bytes per token",
    # tables and mixtures (effects/tensor_calls.py, tables_of_tokens.py, mixtures.py)
    "difference": "something taken off a distribution, or that off something",
    "lookup": "looked up in a table by tokens",
    "picked": "looked up at the tokens themselves, not by their hash",
    "apiece": "what a table says of each position, kept before the text is scored",
    "counted": "one-hot rows, whose sum counts tokens",
    "total": "the sum of a table",
    "hashed": "computed by a hash",
    "hinted": "a model's own probability of what a table says comes next",
    "keyed": "keyed:LINE, a score that what was looked up for its target alone went into",
    "unnormalised": "unnormalised:LINE, of a distribution that does not sum to one",
    "exceeds": "exceeds:LINE, the logarithms of two distributions, put together, that sum to more than one",
    "greater": "greater:LINE, the larger of two distributions",
    "powered": "powered:LINE, powers of distributions multiplied, at the targets",
    "constant": "constant:LINE, a count divided by a constant",
    "uneven": "uneven:LINE, a score that such a count of its target went into",
    "mean": "mean:NUMBER, a mean or sum over the targets that the machine keeps under that number",
    "own": "own:LINE, a score that such a mean of its own targets went into",
    "told": "told:LINE, chosen by whether the target was found",
    # what changes logits (effects/bent_logits.py)
    "ahead": "computed from where the next document begins",
    "bent": "bent:NUMBER:LINE, logits that the value of that number was multiplied with or added to",
    "shaped": "shaped:LINE, a score whose logits were changed by their targets",
    # what became of scores (effects/choices.py, effects/arithmetic.py)
    "chosen": "chosen:LINE, a score decided there",
    "finished": "finished:LINE, the score that decided was a whole evaluation's",
    "shifted": "shifted:LINE, the largest of logarithms that is taken off, to be put back",
    "gated": "gated:LINE, decided by comparing a target's score with a threshold",
    "asked": "asked:LINE, a comparison of scores",
    "inner": "inner:LINE, scores without those where a token is BOS",
    "outer": "outer:LINE, the scores where a token is BOS alone",
    "filtered": "filtered:LINE, scores at chosen positions",
    "clamped": "clamped:LINE, scores with a bound",
    "paid": "paid:LINE, scores times whether the text was stored",
    # ranks and clocks (effects/shares_of_ranks.py, effects/clocks.py)
    "rank": "computed from the number of this rank",
    "world": "computed from the number of ranks",
    "met": "met:LINE, where both first came together",
    "share": "share:LINE, one rank's share",
    "clock": "clock:UNITS, a time of a clock that counts so many units a second",
}
COUNTED = ("grid:", "cell:", "span:", "most:", "portion:", "tail:")
"""Marks of a number that are true only where they are of each of the values that it may be."""
