import pytest
import torch
from fastai.callback.core import TrainEvalCallback
from fastai.data.core import DataLoaders
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import Adam
from fastai.text.learner import language_model_learner, text_classifier_learner
from fastai.text.models.awdlstm import AWD_LSTM

from lowres.families.ulmfit.data import ClassifierBatches, Documents, LmBatches
from lowres.families.ulmfit.learning import lm_learner
from lowres.families.ulmfit.models import QRNN, cheap_dropout
from lowres.families.ulmfit.saved import LmConfig, build_lm, put_weights
from lowres.families.ulmfit.spec import Optimisation

CONFIG = LmConfig(
    cell="awd-lstm",
    emb_size=12,
    n_hid=20,
    n_layers=3,
    precision="float32",
    vocab_size=60,
    pad_id=1,
    direction="forward",
)
# weight_p 0: fastai's WeightDropout would register the raw weight a second time
FASTAI = {
    "emb_sz": 12,
    "n_hid": 20,
    "n_layers": 3,
    "pad_token": 1,
    "tie_weights": True,
    "out_bias": True,
    "weight_p": 1e-9,
} | {name: 0.0 for name in ("output_p", "hidden_p", "input_p", "embed_p")}


def _documents() -> Documents:
    """Each document counts upwards in its own step, so the next token can be learnt."""
    return Documents.of([[3 + (k + 1) * step % 57 for step in range(40 + k)] for k in range(6)], 2)


class _Loaders(DataLoaders):
    vocab = [str(k) for k in range(60)]
    c = 2


def _loaders(train, valid) -> DataLoaders:
    loaders = _Loaders(train, valid)
    loaders._device = train.device
    return loaders


class _Losses(TrainEvalCallback):
    """fastai's TrainEvalCallback that also remembers the losses of training."""

    def before_fit(self):
        super().before_fit()
        self.losses = []

    def after_batch(self):
        super().after_batch()
        self.losses.append(self.learn.loss.item())


def test_our_awd_lstm_trains_as_fastais_own_learner():
    spec = Optimisation(lr=1e-2, batch_size=4, bptt=7, weight_decay=0.1, clip=100)
    batches = [LmBatches(_documents(), 4, 7, seed=None, backward=False) for _ in range(4)]
    model = build_lm(CONFIG).train()
    theirs = language_model_learner(
        _loaders(batches[0], batches[1]),
        AWD_LSTM,
        config=FASTAI,
        pretrained=False,
        opt_func=Adam,
        moms=spec.moms,
        wd=spec.weight_decay,
        default_cbs=False,
        cbs=[_Losses()],
    )
    assert isinstance(theirs.loss_func, CrossEntropyLossFlat)
    names = dict(theirs.model.named_parameters())
    put_weights(model, {name: names[name].detach().clone() for name, _ in model.named_parameters()}, "fastai")
    ours = lm_learner(model, batches[2], batches[3], spec)
    ours.remove_cbs(TrainEvalCallback)
    ours.add_cb(_Losses())
    for learn in (ours, theirs):
        learn.fit_one_cycle(3, 3e-2)
    got, want = (
        torch.tensor(learn.cbs[-1].losses if learn is ours else learn.cbs[0].losses) for learn in (ours, theirs)
    )
    assert len(got) == 3 * len(batches[0]) and want[-1] < want[0] - 0.05
    assert torch.allclose(got, want, rtol=2e-5, atol=0)


def test_fastai_makes_a_language_model_learner_of_our_qrnn():
    torch.manual_seed(0)
    batches = LmBatches(_documents(), 4, 7, seed=None, backward=False)
    config = FASTAI | {"window": 2, "weight_p": 0.2}
    loaders = _loaders(batches, batches)
    learn = language_model_learner(
        loaders, QRNN, config=config, pretrained=False, default_cbs=False, cbs=[losses := _Losses()]
    )
    learn.fit(2, 1e-2)
    assert losses.losses[-1] < losses.losses[0] - 0.05
    assert "0.rnns.0.layers.0.linear.weight_raw" in learn.model.state_dict()


def test_fastai_makes_a_classifier_learner_of_our_qrnn():
    torch.manual_seed(0)
    texts = [[2, 10 + k % 2, *range(20, 20 + k % 6)] for k in range(40)]
    batches = ClassifierBatches(texts, [k % 2 for k in range(40)], 8, seed=0, pad_id=1, chunk=72)
    config = {"emb_sz": 12, "n_hid": 20, "n_layers": 2, "window": 2}
    learn = text_classifier_learner(
        _loaders(batches, batches),
        QRNN,
        config=config,
        pretrained=False,
        n_out=2,
        drop_mult=0.1,
        loss_func=CrossEntropyLossFlat(),
        default_cbs=False,
        cbs=[losses := _Losses()],
    )
    learn.fit(6, 1e-2)
    assert sum(losses.losses[-5:]) < sum(losses.losses[:5]) / 2


@pytest.mark.parametrize("cell", ["qrnn", "awd-lstm"])
def test_the_state_is_carried_over_and_reset(cell):
    torch.manual_seed(0)
    model = build_lm(CONFIG.model_copy(update={"cell": cell})).eval()
    ids = torch.randint(3, 60, (3, 12))
    whole = model(ids)[0]
    model.reset()
    pieces = torch.cat([model(ids[:, :5])[0], model(ids[:, 5:])[0]], 1)
    assert torch.allclose(whole, pieces, rtol=0, atol=1e-6)
    assert not torch.allclose(model(ids)[0], whole, atol=1e-6), "not reset: the state of before counts"
    model.reset()
    fewer = torch.cat([model(ids[:, :5])[0][:2], model(ids[:2, 5:])[0]], 1)
    assert torch.allclose(whole[:2], fewer, rtol=0, atol=1e-6), "the rows that go on keep their state"


@pytest.mark.parametrize("cell", ["qrnn", "awd-lstm"])
def test_bfloat16_is_near_float32(cell):
    torch.manual_seed(0)
    model = build_lm(CONFIG.model_copy(update={"cell": cell})).eval()
    ids = torch.randint(3, 60, (3, 12))
    exact = model(ids)[0]
    model.reset()
    model.products = torch.bfloat16
    rough = model(ids)[0]
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).norm() < 0.02 * exact.norm()


def test_cheap_dropout_keeps_the_mean_and_repeats_with_its_seed():
    weight = torch.ones(500, 401)
    torch.manual_seed(0)
    first = cheap_dropout(weight, 0.2)
    torch.manual_seed(0)
    assert torch.equal(first, cheap_dropout(weight, 0.2))
    assert abs(float((first == 0).float().mean()) - 0.2) < 5e-3
    assert set(first.unique().tolist()) == {0.0, 1.25}
