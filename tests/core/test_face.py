import lowres


def test_the_face_offers_what_it_names():
    assert all(callable(getattr(lowres, name)) for name in lowres.__all__ if name != "__version__")


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(lowres, "train_everything")
