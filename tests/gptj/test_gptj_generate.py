import numpy as np
import pytest

from lowres.errors import DataError
from lowres.families.gptj import generate, huggingface
from lowres.families.gptj.model import Config, init
from lowres.tokenizers.base import load_tokenizer


@pytest.fixture(scope="module")
def generator(rooms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("generate")
    tokenizer = load_tokenizer(rooms / "tokenizer")
    config = Config(tokenizer.vocab_size + 4, n_ctx=16, n_layer=1, n_embd=32, n_head=2, rotary_dim=8)
    params = {name: 4 * np.asarray(array) for name, array in init(config, 3).items()}
    huggingface.save_lm(folder, params, config, tokenizer)
    return generate.load(folder)


def test_a_seed_gives_its_text(generator):
    one, again, other = (generator.generate("The lake", max_tokens=30, seed=seed) for seed in (1, 1, 2))
    assert one == again != other
    assert one.startswith("The lake") and len(one) > len("The lake")


def test_the_likeliest_token_needs_no_seed(generator):
    greedy = [generator.generate("The lake", max_tokens=20, temperature=0.0, seed=seed) for seed in (1, 2)]
    assert greedy[0] == greedy[1]
    narrow = [generator.generate("The lake", max_tokens=20, temperature=1.0, top_k=1, seed=seed) for seed in (1, 2)]
    nucleus = generator.generate("The lake", max_tokens=20, temperature=1.0, top_p=1e-6, seed=3)
    assert narrow[0] == narrow[1] == nucleus == greedy[0]


def drawn(generator, temperature, top_k, top_p, times=300):
    """Ids that come out of one place, over many keys."""
    import jax

    buffer = np.arange(10, 26).astype(np.int32)
    settings = np.array([temperature, top_k, top_p], np.float32)
    keys = jax.random.split(jax.random.key(0), times)
    step = jax.vmap(
        lambda key: generate.next_token(
            generator.params, buffer, 16, settings, generator._banned(), key, generator.config
        )
    )
    return np.asarray(step(keys))


def test_top_k_and_the_ban_bound_what_is_drawn(generator):
    assert len(set(drawn(generator, 5.0, 3, 1.0))) == 3
    wide = set(drawn(generator, 1000.0, 0, 1.0))
    assert len(wide) > 100
    assert max(wide) < generator.tokenizer.vocab_size, "spare rows are never drawn"
    assert not wide & {generator.tokenizer.pad_id, generator.tokenizer.unk_id}


def test_settings_out_of_range_are_refused(generator):
    with pytest.raises(DataError, match="top_p"):
        generator.generate("The", top_p=0.0)
