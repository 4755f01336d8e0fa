"""Language models that others trained, read from their files: fastai, MultiFiT's releases, fastai_ulmfit packages."""
