"""What `truenorth plan` asks and answers: the memory and the time of a run that is not started."""
