"""Documents of any length pooled with an exact gradient, in memory that hardly grows with their length.

A plain graph keeps every gate of every token. Here documents run in time windows. What goes from a window to the next
(the LSTM's state, the pool, sums of squares) is kept, its inside is not: the backward pass computes each window once
more from the state in front of it, the last one first. Dropout masks are arguments, so the second time gives what the
first one gave. The gradient of word vectors goes into one table for all windows.

B documents, T time steps, E width of an output.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ulmfit_ray.model.awd_lstm import AWDLSTM, PAD_ID
from ulmfit_ray.model.dropout import DropoutMasks
from ulmfit_ray.model.pooling import Pool


@dataclass(frozen=True, slots=True)
class GradientReach:
    """How far back into a document the gradient goes, and what is kept in memory for it."""

    window: int = 72
    """Tokens of a document that are computed at once."""
    num_tokens: int = 0
    """The gradient goes through the last so many tokens, in whole windows (0: all); earlier ones are pooled, too."""
    stops_at_windows: bool = False
    """No gradient from a window to the one before, as in fastai and the paper."""
    tokens_in_memory: int = 32_768
    """So many tokens keep their graph instead of being computed again; more rows than fit in a window are computed one
    part after the other. It changes nothing but memory and time."""


def pooled_with_activity(
    backbone: AWDLSTM, token_ids: Tensor, num_tokens: Tensor, masks: DropoutMasks, reach: GradientReach
) -> tuple[Tensor, Tensor]:
    """Return vectors (B, 3E), [last, max, mean] over all tokens of documents (B, T), and their activity (B, 2).

    Documents come longest first. The activity is the sum over a document's tokens of the mean square of the outputs,
    and of their change from token to token: what activation regularization needs.
    """
    lengths = num_tokens.tolist()
    assert lengths == sorted(lengths, reverse=True), "documents must come longest first"
    rows = max(1, reach.tokens_in_memory // reach.window)
    parts, left = [], reach.tokens_in_memory
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    for start in range(0, len(lengths), rows):
        chosen = slice(start, start + rows)
        documents = _Documents(
            backbone, token_ids[chosen, : lengths[start]], num_tokens[chosen], masks.rows(chosen), reach, left
        )
        left -= documents.tokens_kept
        if trained and torch.is_grad_enabled():
            parts.append(_Recomputed.apply(documents, *trained))
        else:
            parts.append(_result(documents.run(with_graph=False)[2]))
    vectors, activity = zip(*parts, strict=True)
    return torch.cat(vectors), torch.cat(activity)


State = list[Tensor]
"""Of the documents that run in a window: h and c of each layer, (1, B', H), then the `NUM_POOLED` below."""
NUM_POOLED = 5
"""Last, sum, weight and maximum of the pool, (B', E) or (B', 1), and the activity (B', 2)."""


@dataclass(slots=True)
class _Computed:
    """One window with its graph."""

    inputs: Tensor
    """Word vectors (B', T', E)."""
    before: State
    after: State


class _Documents:
    """A part of a batch: how each window of it is computed."""

    def __init__(
        self,
        backbone: AWDLSTM,
        token_ids: Tensor,
        num_tokens: Tensor,
        masks: DropoutMasks,
        reach: GradientReach,
        tokens_in_memory: int,
    ) -> None:
        self.backbone, self._ids, self._masks, self._reach = backbone, token_ids, masks, reach
        self._num_tokens = num_tokens
        lengths = num_tokens.tolist()
        self._starts = range(0, lengths[0], reach.window)
        self.active = [sum(length > start for length in lengths) for start in self._starts]
        """Of each window the number of documents that run in it."""
        self._first_in_reach = (num_tokens - (reach.num_tokens or lengths[0])).clamp(min=0) // reach.window
        """Of each document the first window with gradient, (B,)."""
        self.first = int(self._first_in_reach.min())
        """The first window with gradient of any document."""
        sums = list(accumulate(rows * reach.window for rows in self.active[self.first :]))
        self._num_kept = sum(total <= tokens_in_memory for total in sums)
        self.tokens_kept = sums[self._num_kept - 1] if self._num_kept else 0
        is_trained = [any(parameter.requires_grad for parameter in layer.parameters()) for layer in backbone.layers]
        self._lowest = 0 if backbone.embedding.weight.requires_grad else [*is_trained, True].index(True)
        """The first layer whose state has a gradient."""
        device = token_ids.device.type
        self._autocast = device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)

    def is_kept(self, number: int) -> bool:
        """Tell whether a window's graph is kept in memory."""
        return 0 <= number - self.first < self._num_kept

    def run(self, *, with_graph: bool) -> tuple[list[State], list[_Computed], State]:
        """Compute all windows; return the states in front of them, those kept with graph, and all pools at the end."""
        states, kept, finished = [self._first_state()], [], []
        for number, rows in enumerate(self.active):
            computed = self.compute(number, states[-1], with_graph=with_graph)
            if with_graph and self.is_kept(number):
                kept.append(computed)
            after = [tensor.detach() for tensor in computed.after]
            staying = self.active[number + 1] if number + 1 < len(self.active) else 0
            # Documents that have ended leave from the end: longest first, the last to leave is the first of the batch.
            finished.append([tensor[staying:rows] for tensor in after[-NUM_POOLED:]])
            hidden = [tensor[:, :staying].contiguous() for tensor in after[:-NUM_POOLED]]
            states.append([*hidden, *(tensor[:staying] for tensor in after[-NUM_POOLED:])])
        pooled = [torch.cat(parts[::-1]) for parts in zip(*finished, strict=True)]
        return states[:-1], kept, pooled

    def _first_state(self) -> State:
        width, rows = self.backbone.architecture.embedding_dim, len(self._ids)
        pool = Pool("concat", rows, width, self._ids.device)
        hidden = [tensor for pair in self.backbone.initial_hidden(rows) for tensor in pair]
        return [*hidden, *pool.state, torch.zeros(rows, 2, device=self._ids.device)]

    def compute(self, number: int, state: State, *, with_graph: bool) -> _Computed:
        """Compute a window from the state in front of it."""
        device, dtype, is_on = self._autocast
        # The same functions must run the first and the second time: some differ where a graph is made.
        with torch.set_grad_enabled(with_graph), torch.autocast(device, dtype=dtype, enabled=is_on):
            inputs = self._inputs(number)
            before = [tensor.detach() for tensor in state]
            if with_graph:
                inputs.requires_grad_(self.backbone.embedding.weight.requires_grad)
                for tensor in before[2 * self._lowest :]:
                    tensor.requires_grad_()
            return _Computed(inputs, before, self._step(number, inputs, before))

    def _window(self, number: int) -> tuple[int, int, int]:
        """Return the documents that have tokens in a window, and its first and last place."""
        start = self._starts[number]
        return self.active[number], start, min(start + self._reach.window, self._ids.shape[1])

    @torch.no_grad()
    def _inputs(self, number: int) -> Tensor:
        rows, start, stop = self._window(number)
        return self.backbone.embed(self._ids[:rows, start:stop], self._masks.rows(slice(0, rows)))

    def _step(self, number: int, inputs: Tensor, before: State) -> State:
        """Return the state behind a window."""
        rows, start, _ = self._window(number)
        hidden = list(zip(before[:-NUM_POOLED:2], before[1:-NUM_POOLED:2], strict=True))
        outputs, new_hidden = self.backbone.run_layers(inputs, hidden, self._masks.rows(slice(0, rows)))
        outputs = outputs.float()
        if self._reach.num_tokens:
            is_in_reach = number >= self._first_in_reach[:rows]
            outputs = torch.where(is_in_reach[:, None, None], outputs, outputs.detach())
        pool = Pool("concat", rows, outputs.shape[2], outputs.device)
        pool.state = before[-NUM_POOLED:-1]
        activity = before[-1] + self._activity(number, outputs, previous=pool.state[0])
        pool.add(outputs, self._num_tokens[:rows] - start)
        return [*(tensor.float() for pair in new_hidden for tensor in pair), *pool.state, activity]

    def _activity(self, number: int, outputs: Tensor, previous: Tensor) -> Tensor:
        """Return a window's part of the activity (B', 2); `previous` (B', E) is the output in front of it."""
        rows, start, stop = self._window(number)
        if self._reach.stops_at_windows:
            previous = previous.detach()
        if start == 0:
            # A document's first token is no change.
            previous = outputs[:, 0]
        is_real = torch.arange(start, stop, device=outputs.device) < self._num_tokens[:rows, None]  # (B', T')
        change = torch.diff(outputs, dim=1, prepend=previous[:, None])
        squares = torch.stack([outputs.square().mean(2), change.square().mean(2)], 2)
        return (squares * is_real[..., None]).sum(1)

    def passed_on(self, number: int, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return the gradients of the state in front of a window as far as they go on into the window before."""
        hidden, pooled = gradients[:-NUM_POOLED], gradients[-NUM_POOLED:]
        if self._reach.stops_at_windows:
            return [*(None for _ in hidden), *pooled]
        if not self._reach.num_tokens:
            return [*hidden, *pooled]
        factor = (number > self._first_in_reach[: self.active[number]]).float()[None, :, None]
        return [*(None if gradient is None else gradient * factor for gradient in hidden), *pooled]

    def add_word_gradient(self, number: int, gradient: Tensor, table: Tensor) -> None:
        """Add a window's gradient (B', T', E) of its word vectors to that of the whole table (V, E)."""
        rows, start, stop = self._window(number)
        masks = self._masks.rows(slice(0, rows))
        ids = self.backbone.known(self._ids[:rows, start:stop])
        if masks.input is not None:
            gradient = gradient * masks.input
        if masks.embedding is not None:
            gradient = gradient * masks.embedding[ids]
        table.index_add_(0, ids.flatten(), gradient.flatten(0, 1).to(table.dtype))


def _result(pooled: State) -> tuple[Tensor, Tensor]:
    """Return vectors (B, 3E) and activity (B, 2), given all pools at the end."""
    pool = Pool("concat", 0, 0)
    pool.state = pooled[:-1]
    return pool.vectors(), pooled[-1]


class _Recomputed(torch.autograd.Function):
    """(documents, the trained parameters) -> vectors and activity."""

    @staticmethod
    def forward(ctx: Any, documents: _Documents, *trained: Tensor) -> tuple[Tensor, Tensor]:
        ctx.documents, ctx.trained = documents, trained
        ctx.states, ctx.kept, ctx.pooled = documents.run(with_graph=True)
        return _result(ctx.pooled)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        documents: _Documents = ctx.documents
        table = documents.backbone.embedding.weight
        totals = {parameter: torch.zeros_like(parameter) for parameter in ctx.trained}
        layers = [parameter for parameter in ctx.trained if parameter is not table]
        of_pools = _of_pools(ctx.pooled, grads)
        of_state: list[Tensor | None] = []
        for number in reversed(range(documents.first, len(documents.active))):
            before = ctx.states.pop()
            is_kept = documents.is_kept(number)
            computed = ctx.kept.pop() if is_kept else documents.compute(number, before, with_graph=True)
            of_state = _with_finished(of_state, of_pools, computed.after)
            found = _gradients(computed.after, [*layers, computed.inputs, *computed.before], of_state)
            for parameter, gradient in zip(layers, found, strict=False):
                if gradient is not None:
                    totals[parameter] += gradient
            of_inputs = found[len(layers)]
            if of_inputs is not None:
                documents.add_word_gradient(number, of_inputs, totals[table])
            of_state = documents.passed_on(number, found[-len(before) :])
        if table in totals:
            # As nn.Embedding: what stands for padding is not trained.
            totals[table][PAD_ID] = 0
        return None, *totals.values()


def _of_pools(pooled: State, grads: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients of all pools at the end, given those of vectors and activity."""
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in pooled]
        found = _gradients(_result(leaves), leaves, grads)
    return [
        torch.zeros_like(leaf) if gradient is None else gradient for leaf, gradient in zip(leaves, found, strict=True)
    ]


def _with_finished(of_state: list[Tensor | None], of_pools: Sequence[Tensor], after: State) -> list[Tensor | None]:
    """Return the gradients of the state behind a window: of the documents that go on, then of those that end there."""
    of_state = of_state or [None] * len(after)
    hidden: list[Tensor | None] = []
    for gradient, tensor in zip(of_state[:-NUM_POOLED], after[:-NUM_POOLED], strict=True):
        missing = 0 if gradient is None else tensor.shape[1] - gradient.shape[1]
        hidden.append(None if gradient is None else F.pad(gradient, (0, 0, 0, missing)))
    pooled = []
    for gradient, at_end, tensor in zip(of_state[-NUM_POOLED:], of_pools, after[-NUM_POOLED:], strict=True):
        own = at_end[: len(tensor)] if gradient is None else torch.cat([gradient, at_end[len(gradient) : len(tensor)]])
        pooled.append(own)
    return [*hidden, *pooled]


def _gradients(
    results: Sequence[Tensor], wanted: Sequence[Tensor], gradients: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Return the gradients of `wanted`, given those of `results`; None: there is none."""
    pairs = [
        (result, gradient)
        for result, gradient in zip(results, gradients, strict=True)
        if gradient is not None and result.requires_grad
    ]
    places = [place for place, tensor in enumerate(wanted) if tensor.requires_grad]
    all_found: list[Tensor | None] = [None] * len(wanted)
    if pairs:
        some = torch.autograd.grad(
            [pair[0] for pair in pairs],
            [wanted[place] for place in places],
            [pair[1] for pair in pairs],
            allow_unused=True,
        )
        for place, gradient in zip(places, some, strict=True):
            all_found[place] = gradient
    return all_found
