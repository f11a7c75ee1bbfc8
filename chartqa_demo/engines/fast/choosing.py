"""Which token comes next, row by row: greedy or sampled, after a repetition penalty, and never from broken numbers."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from chartqa_demo.engines import GREEDY_BELOW

NOT_FINITE = -1  # instead of a token: the row's numbers have overflowed, and all that follows would be made up


class NextTokens:
    """Chooses the next token of every row, and keeps what that takes from step to step.

    prompts: per row its token ids; temperature: below GREEDY_BELOW is greedy; penalty: as transformers'
    RepetitionPenaltyLogitsProcessor counts it, over prompt and answer, 1 for none; seed: of what is sampled, None for
    torch's own state; best: a kernel that takes what is not sampled, `kernels.choice.best`. greedy: whether nothing
    is sampled; logs: per step the tokens' log-probabilities, see `log_of`; they stay on the device.
    """

    def __init__(
        self,
        prompts: Sequence[list[int]],
        temperature: float = 0.0,
        penalty: float = 1.0,
        seed: int | None = None,
        best: Callable[..., Any] | None = None,
    ) -> None:
        self._prompts = prompts
        self.greedy = not temperature >= GREEDY_BELOW  # NaN, too
        self._temperature, self._penalty, self._seed = temperature, penalty, seed
        self._best = best
        self._seen: torch.Tensor | None = None  # (rows, vocabulary): tokens of the prompt and of the answer so far
        self._generator: torch.Generator | None = None
        self.logs: list[torch.Tensor] = []

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """logits (B, vocabulary) -> tokens (B,), NOT_FINITE for a row with a NaN or an infinity; none waits for the
        device."""
        if self.greedy and self._best is not None:
            if self._penalty != 1.0 and self._seen is None:
                self._seen = self._said(logits)
            tokens, log = self._best(logits, self._seen, self._penalty)
            self.logs.append(log)
            if self._seen is not None:
                self._seen.scatter_(1, tokens.clamp(min=0)[:, None], True)
            return tokens
        if self._penalty != 1.0:
            logits = self._penalised(logits)
        finite = logits.amax(-1).isfinite()  # a NaN is the largest of whatever it is among
        if self.greedy:
            tokens = logits.argmax(-1)
        else:
            if self._seed is not None and self._generator is None:
                self._generator = torch.Generator(logits.device).manual_seed(self._seed)
            logits = logits.float().masked_fill(~finite[:, None], 0.0)  # else CUDA ends the whole process's use of it
            share = (logits / self._temperature).softmax(-1)
            tokens = torch.multinomial(share, 1, generator=self._generator)[:, 0]
        self.logs.append(log_of(logits, tokens))
        if self._seen is not None:
            self._seen.scatter_(1, tokens[:, None], True)
        return tokens.masked_fill(~finite, NOT_FINITE)

    def keep(self, stay: torch.Tensor) -> None:
        """Only the rows `stay` from now on."""
        if self._seen is not None:
            self._seen = self._seen[stay]

    def _said(self, logits: torch.Tensor) -> torch.Tensor:
        """(rows, vocabulary): whether the token is in the row's prompt."""
        seen = torch.zeros(logits.shape, dtype=torch.bool)
        for row, prompt in enumerate(self._prompts):
            seen[row, torch.tensor(prompt)] = True
        return seen.to(logits.device, non_blocking=True)

    def _penalised(self, logits: torch.Tensor) -> torch.Tensor:
        if self._seen is None:
            self._seen = self._said(logits)
        lower = torch.where(logits < 0, logits * self._penalty, logits / self._penalty)
        return torch.where(self._seen, lower, logits)


def log_of(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The natural logarithm of the tokens' probability at temperature 1, (B,), float32: logits (B, vocabulary), behind
    the repetition penalty; tokens (B,)."""
    return logits.gather(1, tokens[:, None])[:, 0].float() - logits.float().logsumexp(-1)
