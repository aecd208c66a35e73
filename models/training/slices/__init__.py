"""Making ``ct_pima_ipn``: patients whose nodule shows on marked CT slices, variants, tables, its bundle."""
