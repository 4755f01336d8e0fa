"""Language models that others trained, read from their own files: fastai, MultiFiT's releases, fastai_ulmfit packages."""
