"""Learning with physicians in the loop where they do not agree: the protocol, and people drawn by rule to try it.

cases             what readers say of a case, soft labels, consensus
folds             who trains, validates, tests; the R + 1 folds of the cases on which readers differ
attention_target  how answers to a shown map change what the next network should attend to
losses            the three terms of the loss
training          one network, from nothing or from the one before
protocol          rounds r = 0..R: train, show, ask again, train
readers           simulated physicians: accuracy, bias, care with regions, readiness to believe a machine
phantom_cohort    drawn chests with clinical data, and how plain the disease is in each
node_export       the same answers from a training set that the node exported
interaction       tables: what the rounds did to readers
study             tables: what the rounds did to the network, beside a control without it
"""
