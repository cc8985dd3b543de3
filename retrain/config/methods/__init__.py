"""`retrain.method`, and the section of each method other than DPO (`[retrain.hyper]`)."""
