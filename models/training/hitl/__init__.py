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
site_index        a site's own patients: index.csv
site_cohort       their scans, read by the node's own modules
site_answers      second looks out of exports
site_state        what stays as it was at round 0
site_worklist     whom readers look at next, and where
site_run          the rounds on a site's patients, as far as answers have come
interaction       tables: what the rounds did to readers
study             tables: what the rounds did to the network, beside a control without it
figures           every figure of a study, drawn or a site's, and why one is not there
report            the page
bundle, bundle_texts   the network that the rounds made, packed
"""
