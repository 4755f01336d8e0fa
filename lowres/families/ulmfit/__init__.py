"""ULMFiT and MultiFiT: AWD-LSTM and QRNN language models and classifiers on PyTorch and fastai."""
