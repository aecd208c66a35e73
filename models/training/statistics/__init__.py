"""The statistics of every figure that is printed. The unit is the patient.

shares       Wilson's and Clopper and Pearson's intervals
roc          area under the ROC curve, of one finding and of several
bootstrap    percentile intervals from drawing patients, of any figure and of the difference of two models
delong       variance of AUCs: interval, paired test, non-inferiority
confusion    sensitivity, specificity and what else a threshold gives
calibration  Brier score, log-loss, calibration error, reliability diagram
agreement    kappas of readers, automation bias
p_values     McNemar, exact binomial, Holm, comparison of cohorts
cases        what labels, scores and patients must be
"""

from models.training.statistics.agreement import automation_bias, cohen_kappa, fleiss_kappa
from models.training.statistics.bootstrap import (
    MultiLabelAuc,
    auc_by_patient,
    difference_by_patient,
    interval_by_patient,
    mean_by_patient,
    multilabel_auc,
)
from models.training.statistics.calibration import brier, calibration_error, log_loss, reliability
from models.training.statistics.cases import Floats, mean_per_patient
from models.training.statistics.confusion import (
    AtThreshold,
    Counts,
    counts_at,
    counts_by_class,
    counts_of,
    measures_by_patient,
    sensitivity_specificity,
)
from models.training.statistics.delong import NonInferiority, PairedAuc, auc_delong, auc_non_inferiority, delong, delong_test
from models.training.statistics.p_values import (
    Flips,
    GroupTest,
    binomial_below,
    compare_numbers,
    compare_shares,
    holm,
    mcnemar_exact,
)
from models.training.statistics.roc import auc, macro_auc, micro_auc
from models.training.statistics.shares import Interval, Share, clopper_pearson, share, wilson

__all__ = [
    "AtThreshold",
    "Counts",
    "Flips",
    "Floats",
    "GroupTest",
    "Interval",
    "MultiLabelAuc",
    "NonInferiority",
    "PairedAuc",
    "Share",
    "auc",
    "auc_by_patient",
    "auc_delong",
    "auc_non_inferiority",
    "automation_bias",
    "binomial_below",
    "brier",
    "calibration_error",
    "clopper_pearson",
    "cohen_kappa",
    "compare_numbers",
    "compare_shares",
    "counts_at",
    "counts_by_class",
    "counts_of",
    "delong",
    "delong_test",
    "difference_by_patient",
    "fleiss_kappa",
    "holm",
    "interval_by_patient",
    "log_loss",
    "macro_auc",
    "mcnemar_exact",
    "mean_by_patient",
    "mean_per_patient",
    "measures_by_patient",
    "micro_auc",
    "multilabel_auc",
    "reliability",
    "sensitivity_specificity",
    "share",
    "wilson",
]
