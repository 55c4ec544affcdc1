-- Nothing to do.
return {}
