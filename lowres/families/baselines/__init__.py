"""Majority class, TF-IDF with logistic regression, NB-SVM."""
