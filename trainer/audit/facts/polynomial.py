"""Sizes and positions that a script computes, as polynomials in its unknown sizes: `ci * chunk + chunk`."""

from __future__ import annotations

from dataclasses import dataclass

MOST_TERMS = 12
Monomial = tuple[str, ...]


@dataclass(frozen=True)
class Polynomial:
    """A sum of products of unknowns with integer coefficients; every unknown is a positive integer."""

    terms: tuple[tuple[Monomial, int], ...]

    @classmethod
    def of(cls, terms: dict[Monomial, int]) -> Polynomial | None:
        """The polynomial without zero terms; None if it is too long to be worth keeping."""
        kept = tuple(sorted((monomial, factor) for monomial, factor in terms.items() if factor))
        return cls(kept) if len(kept) <= MOST_TERMS and all(len(monomial) <= 3 for monomial, _ in kept) else None

    @classmethod
    def constant(cls, value: int) -> Polynomial:
        """A known integer."""
        return cls((((), value),)) if value else cls(())

    @classmethod
    def unknown(cls, name: str) -> Polynomial:
        """An unknown positive integer."""
        return cls((((name,), 1),))

    def plus(self, other: Polynomial, times: int = 1) -> Polynomial | None:
        """self + times * other."""
        terms = dict(self.terms)
        for monomial, factor in other.terms:
            terms[monomial] = terms.get(monomial, 0) + times * factor
        return Polynomial.of(terms)

    def times(self, other: Polynomial) -> Polynomial | None:
        """The product."""
        terms: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in other.terms:
                monomial = tuple(sorted(left + right))
                terms[monomial] = terms.get(monomial, 0) + a * b
        return Polynomial.of(terms)

    @property
    def value(self) -> int | None:
        """The integer, if nothing is unknown."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and self.terms[0][0] == () else None

    def is_at_least(self, other: Polynomial) -> bool:
        """Whether self >= other for all positive values of the unknowns; False also where that is not certain."""
        difference = self.plus(other, -1)
        if difference is None:
            return False
        constant = dict(difference.terms).get((), 0)
        unknowns = [factor for monomial, factor in difference.terms if monomial]
        return all(factor > 0 for factor in unknowns) and constant + sum(unknowns) >= 0
