"""Labels as targets: their losses against the formulas, in float64."""

import pytest
import torch

from condense.store import Features, Hard, Soft, Target
from condense.store.targets import Mixed, Regressed, TeacherLogits


def logits(n: int, k: int) -> torch.Tensor:
    return torch.randn(n, k, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 4


def test_the_soft_loss_is_minus_the_mean_of_the_sum_of_p_times_log_softmax() -> None:
    z, p = logits(5, 4), torch.rand(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    p = p / p.sum(1, keepdim=True)
    naive = torch.zeros((), dtype=torch.float64)
    for i in range(5):
        norm = sum(z[i, j].exp() for j in range(4))
        naive = naive - sum(p[i, j] * (z[i, j] - torch.as_tensor(norm).log()) for j in range(4)) / 5
    torch.testing.assert_close(Soft(p).loss(z), naive, rtol=1e-12, atol=0)


def test_the_hard_loss_is_the_soft_loss_of_one_hot_probabilities() -> None:
    z, ids = logits(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    one_hot = torch.eye(3, dtype=torch.float64)[ids]
    torch.testing.assert_close(Hard(ids).loss(z), Soft(one_hot, ids).loss(z), rtol=1e-12, atol=0)


def test_the_gradient_of_the_soft_loss_is_softmax_minus_p_over_n() -> None:
    z, p = logits(4, 3).requires_grad_(), torch.full((4, 3), 1 / 3, dtype=torch.float64)
    (found,) = torch.autograd.grad(Soft(p).loss(z), z)
    torch.testing.assert_close(found, (z.softmax(1) - p) / 4)


def test_the_loss_of_features_is_the_scale_times_the_mean_sum_of_squares() -> None:
    outputs = torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]], requires_grad=True)
    values = torch.tensor([[0.0, 2.0, 1.0], [2.0, -1.0, 1.0]])
    target = Features(values, torch.tensor([1, 0]), 0.5)
    loss = target.loss(outputs)
    assert loss.item() == 0.5 * ((1 + 0 + 1) + (4 + 0 + 4)) / 2
    (gradient,) = torch.autograd.grad(loss, outputs)
    assert torch.equal(gradient, torch.tensor([[0.5, 0.0, -0.5], [-1.0, 0.0, 1.0]]))
    assert target[1:].loss(outputs[1:]).item() == 4.0 and target[1:].ids.tolist() == [0]
    assert Features(values, target.ids, 1 / 3).loss(outputs).item() == pytest.approx((2 + 8) / 6)


def test_picking_items_picks_their_ids_and_their_probabilities_alike() -> None:
    p, ids = torch.eye(4)[[3, 1, 0, 2]], torch.tensor([3, 1, 0, 2])
    targets: list[Target] = [Hard(ids), Soft(p, ids)]
    for target in targets:
        assert target[torch.tensor([2, 0])].ids.tolist() == [0, 3]
        assert target[1:3].ids.tolist() == [1, 0]
        assert target[ids > 1].ids.tolist() == [3, 2]
        assert len(target) == 4 and len(target.to("cpu")[:3]) == 3
    assert torch.equal(Soft(p, ids)[1:3].probabilities, p[1:3])


def test_a_soft_target_without_ids_takes_the_likeliest_classes() -> None:
    assert Soft(torch.tensor([[0.2, 0.8], [0.7, 0.3]])).ids.tolist() == [1, 0]


def naive(z: torch.Tensor, target: Hard | Soft, item: int) -> torch.Tensor:
    """The cross-entropy of one item, from the definition."""
    if isinstance(target, Hard):
        return z[item].exp().sum().log() - z[item, target.ids[item]]
    return (z[item].exp().sum().log() - z[item]) @ target.probabilities[item]


def test_the_loss_of_mixed_labels_weighs_two_losses_by_the_share() -> None:
    z, ids = logits(7, 4), torch.tensor([0, 1, 2, 3, 3, 0, 1])
    p = torch.rand(7, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).softmax(1)
    order = torch.tensor([6, 0, 1, 3, 5, 4, 2])
    labels: list[Hard | Soft] = [Hard(ids), Soft(p, ids)]
    for first in labels:
        for second in (label[order] for label in labels):
            for share in (0.0, 0.3, 1.0):
                both = [share * naive(z, first, i) + (1 - share) * naive(z, second, i) for i in range(7)]
                mixed = Mixed(first, second, share)
                torch.testing.assert_close(mixed.loss(z), torch.stack(both).mean(), rtol=1e-12, atol=0)
                parts = [mixed[slice(0, 3)], mixed[torch.tensor([3, 4])], mixed[ids == 1][1:], mixed[5:6]]
                rows = [[0, 1, 2], [3, 4], [6], [5]]
                for part, items in zip(parts, rows, strict=True):
                    expected = torch.stack([both[i] for i in items]).mean()
                    torch.testing.assert_close(part.loss(z[items]), expected, rtol=1e-12, atol=0)


def test_mixed_labels_are_as_many_as_their_first_and_take_their_class_ids() -> None:
    mixed: Target = Mixed(Hard(torch.tensor([2, 0, 1])), Hard(torch.tensor([1, 1, 2])), 0.6)
    assert len(mixed) == 3 and mixed.ids.tolist() == [2, 0, 1] and mixed[1:].ids.tolist() == [0, 1]
    moved = mixed.to("meta")
    assert moved.ids.device.type == "meta" and len(moved) == 3


def test_mixing_a_label_with_itself_changes_nothing() -> None:
    z, target = logits(5, 3), Hard(torch.tensor([0, 1, 2, 1, 0]))
    torch.testing.assert_close(Mixed(target, target, 0.37).loss(z), target.loss(z), rtol=1e-12, atol=0)


def naive_divergence(teacher: torch.Tensor, student: torch.Tensor, temperature: float) -> torch.Tensor:
    """The Kullback-Leibler divergence of one item, from the definition."""
    p, q = ((z / temperature).exp() / (z / temperature).exp().sum() for z in (teacher, student))
    return torch.stack([a * (a / b).log() for a, b in zip(p, q, strict=True)]).sum()


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_the_loss_of_teacher_logits_is_the_divergence_at_temperature(
    temperature: float,
) -> None:
    teacher, student, ids = logits(6, 4), logits(6, 4).flip(0), torch.arange(6) % 4
    items = [naive_divergence(t, s, temperature) for t, s in zip(teacher, student, strict=True)]
    target = TeacherLogits(teacher, ids, temperature)
    torch.testing.assert_close(target.loss(student), torch.stack(items).mean(), rtol=1e-10, atol=0)
    squared = TeacherLogits(teacher, ids, temperature, squared=True)
    torch.testing.assert_close(
        squared.loss(student), temperature**2 * target.loss(student), rtol=1e-14, atol=0
    )
    for index, rows in ((slice(1, 3), [1, 2]), (torch.tensor([4, 0]), [4, 0]), (ids == 1, [1, 5])):
        part = target[index]
        expected = torch.stack([items[i] for i in rows]).mean()
        torch.testing.assert_close(part.loss(student[rows]), expected, rtol=1e-10, atol=0)
        assert part.ids.tolist() == ids[rows].tolist() and len(part) == len(rows)


@pytest.mark.parametrize("squared", [False, True])
def test_the_gradient_of_teacher_logits_is_a_softmax_difference(squared: bool) -> None:
    teacher, student, heat = logits(5, 3), logits(5, 3).flip(1).requires_grad_(), 7.0
    target = TeacherLogits(teacher, torch.zeros(5, dtype=torch.long), heat, squared)
    (found,) = torch.autograd.grad(target.loss(student), student)
    softened = (student.detach() / heat).softmax(1) - (teacher / heat).softmax(1)
    torch.testing.assert_close(found, softened / (5 * heat) * (heat**2 if squared else 1))
    (none,) = torch.autograd.grad(target.loss(same := teacher.clone().requires_grad_()), same)
    assert float(none.abs().max()) < 1e-15 and abs(float(target.loss(teacher))) < 1e-15


def test_a_teacher_that_is_sure_beyond_floating_point_gives_a_finite_loss() -> None:
    sure = TeacherLogits(torch.tensor([[1000.0, 0.0, -1000.0]]), torch.tensor([0]), 1.0)
    unsure = torch.tensor([[0.0, 0.0, 0.0]])
    assert float(sure.loss(unsure)) == pytest.approx(torch.tensor(3.0).log().item())
    assert float(sure.loss(torch.tensor([[-1000.0, 0.0, 0.0]]))) == pytest.approx(1000 + 0.6931, rel=1e-6)


def test_teacher_logits_of_half_precision_are_widened_and_move() -> None:
    teacher, student = logits(4, 5).half(), logits(4, 5).flip(0)
    target: Target = TeacherLogits(teacher, torch.arange(4), 20.0)
    wide = TeacherLogits(teacher.double(), torch.arange(4), 20.0)
    assert target.loss(student).dtype == torch.float64
    assert torch.equal(target.loss(student), wide.loss(student))
    assert target.loss(student.float()).dtype == torch.float32
    moved = TeacherLogits(teacher, torch.arange(4), 20.0, squared=True).to("meta")
    assert moved.ids.device.type == moved.logits.device.type == "meta"
    assert moved.temperature == 20.0 and moved.squared


def test_the_loss_of_projected_labels_adds_a_weighed_loss_of_the_ids() -> None:
    z, y, ids = logits(7, 4), 0.5 - logits(7, 4).flip(0), torch.tensor([0, 1, 2, 3, 3, 0, 1])
    order = torch.tensor([6, 0, 1, 3, 5, 4, 2])
    mixed = Mixed(Hard(ids), Hard(ids[order]), 0.3)
    for weight in (0.0, 0.1, 2.0):
        squares = sum((z[i, j] - y[i, j]) ** 2 for i in range(7) for j in range(4)) / 28
        entropy = sum(naive(z, Hard(ids), i) for i in range(7)) / 7
        other = sum(naive(z, Hard(ids[order]), i) for i in range(7)) / 7
        plain, both = Regressed(y, Hard(ids), weight), Regressed(y, mixed, weight)
        torch.testing.assert_close(plain.loss(z), torch.as_tensor(squares + weight * entropy))
        expected = torch.as_tensor(squares + weight * (0.3 * entropy + 0.7 * other))
        torch.testing.assert_close(both.loss(z), expected)
        assert torch.equal(both.ids, ids)
    for part in (slice(2, 5), torch.tensor([2, 3, 4])):
        assert torch.equal(
            Regressed(y, mixed, 0.1)[part].loss(z[2:5]),
            Regressed(y[2:5], Mixed(Hard(ids[2:5]), Hard(ids[order][2:5]), 0.3), 0.1).loss(z[2:5]),
        )
