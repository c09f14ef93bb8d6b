/* The entries of burgers.c. One run: burgini_, burgrun_ as often as wanted, burgout_. */
#ifdef __cplusplus
extern "C" {
#endif

void burgini_(const double *viscosity);
void burgrun_(const double *span);
void burgout_(double *energy, double *steepest, int *steps);

#ifdef __cplusplus
}
#endif
