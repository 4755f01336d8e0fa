"""Label smoothing of the tied loss, and the scale of a loss whose products run in float16."""

from types import SimpleNamespace

import pytest
import torch
from fastai.callback.core import CancelStepException
from torch.nn import functional as F

from lowres.errors import DataError
from lowres.families.ulmfit.learning import ClipNorm
from lowres.families.ulmfit.models import HiddenDecoder, TiedCrossEntropy, use_kernels
from lowres.families.ulmfit.paths import choose
from lowres.families.ulmfit.scaling import LossScale
from lowres.families.ulmfit.spec import LmSettings, Network


@pytest.mark.parametrize("kernel", ["torch", "compiled"])
def test_label_smoothing_is_torchs_in_training_and_none_in_validation(kernel, built_kernels):
    torch.manual_seed(0)
    decoder = HiddenDecoder(50, 8, 0.0)
    torch.nn.init.normal_(decoder.decoder.bias)
    loss = TiedCrossEntropy(decoder, label_smoothing=0.1)
    use_kernels(loss, kernel)
    hidden, targets = torch.randn(3, 7, 8, requires_grad=True), torch.randint(0, 50, (3, 7))
    inputs = (hidden, decoder.decoder.weight, decoder.decoder.bias)
    scores = decoder.scores(hidden).flatten(0, 1)
    wanted = F.cross_entropy(scores, targets.flatten(), label_smoothing=0.1)
    got = loss(hidden, targets)
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(torch.autograd.grad(got, inputs), torch.autograd.grad(wanted, inputs))
    with torch.no_grad():
        torch.testing.assert_close(
            loss(hidden, targets), F.cross_entropy(decoder.scores(hidden).flatten(0, 1), targets.flatten())
        )


def _step(scaling: LossScale, gradient: float) -> torch.Tensor:
    """The gradient that a step would be given; the loss is a weight times `gradient`."""
    weight = torch.nn.Parameter(torch.ones(3))
    opt = SimpleNamespace(all_params=lambda with_grad: [(weight, None, None, None)])
    scaling.learn = SimpleNamespace(loss_grad=(weight * gradient).sum(), opt=opt)
    scaling.before_backward()
    scaling.learn.loss_grad.backward()
    scaling.before_step()
    return weight.grad


def test_a_step_that_overflows_is_left_out_and_halves_the_scale():
    scaling = LossScale()
    torch.testing.assert_close(_step(scaling, 1e-7), torch.full((3,), 1e-7))
    assert (scaling.scale, scaling.good_steps) == (2.0**16, 1)
    with pytest.raises(CancelStepException):
        _step(scaling, 1e35)
    assert (scaling.scale, scaling.good_steps) == (2.0**15, 0)
    scaling.good_steps = 1999
    _step(scaling, 1.0)
    assert (scaling.scale, scaling.good_steps) == (2.0**16, 0)


def test_the_norm_is_kept_from_before_it_is_clipped():
    clip, model = ClipNorm(0.5), torch.nn.Linear(2, 1)
    clip.learn = SimpleNamespace(model=model)
    model.weight.grad, model.bias.grad = torch.tensor([[2.0, 3.0]]), torch.tensor([6.0])
    clip.before_step()
    assert float(clip.norm) == pytest.approx(7.0)
    assert float(torch.cat([model.weight.grad[0], model.bias.grad]).norm()) == pytest.approx(0.5, rel=1e-5)
    clip.before_batch()
    assert clip.norm is None, "a step that is left out has none"


def test_settings_that_do_not_go_together_are_named():
    with pytest.raises(ValueError, match='zoneout is for cell = "qrnn"'):
        LmSettings(cell="awd-lstm", zoneout=0.1)
    with pytest.raises(DataError, match="these have no float16"):
        choose(Network(kernel="compiled", precision="float16"))
    assert choose(Network(precision="float16")).kernel == "torch"


def test_settings_at_their_neutral_value_leave_old_artifacts_their_names():
    assert not {"zoneout", "label_smoothing", "early_stopping"} & LmSettings().hashed().keys()
    assert LmSettings(zoneout=0.1).hashed()["zoneout"] == 0.1
