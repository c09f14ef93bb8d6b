/* Burgers' equation, u_t + u u_x = nu u_xx, on a ring of cells: local Lax-Friedrichs fluxes, steps as long as stability
   allows. Written as such solvers were: all that one call leaves for the next lies in a COMMON block, and there is one
   of those in a process. */
#include "burgers.h"

#include <math.h>

enum { CELLS = 200 };

/* COMMON /BURGERS/ U(200), F(200), NU, DX, DT, NSTEP */
struct {
  double u[CELLS], f[CELLS], nu, dx, dt;
  int nstep;
} burgers_;

void burgini_(const double *viscosity) {
  const double two_pi = 6.283185307179586;
  burgers_.nu = *viscosity;
  burgers_.dx = 1.0 / CELLS;
  burgers_.nstep = 0;
  for (int i = 0; i < CELLS; ++i) burgers_.u[i] = 0.5 + sin(two_pi * (i + 0.5) * burgers_.dx);
}

/* COMMON tells it everything but how far to go. */
static void step(double left) {
  double fastest = 1e-12;
  for (int i = 0; i < CELLS; ++i) fastest = fmax(fastest, fabs(burgers_.u[i]));
  burgers_.dt = 0.4 * fmin(burgers_.dx / fastest, burgers_.dx * burgers_.dx / (2 * burgers_.nu));
  if (burgers_.dt > left) burgers_.dt = left;
  for (int i = 0; i < CELLS; ++i) {
    const double a = burgers_.u[i], b = burgers_.u[(i + 1) % CELLS];
    burgers_.f[i] = 0.25 * (a * a + b * b) -
                    (0.5 * fmax(fabs(a), fabs(b)) + burgers_.nu / burgers_.dx) * (b - a);
  }
  for (int i = 0; i < CELLS; ++i)
    burgers_.u[i] -= burgers_.dt / burgers_.dx * (burgers_.f[i] - burgers_.f[(i + CELLS - 1) % CELLS]);
  ++burgers_.nstep;
}

void burgrun_(const double *span) {
  double left = *span;
  while (left > 0) {
    step(left);
    left -= burgers_.dt;
  }
}

void burgout_(double *energy, double *steepest, int *steps) {
  *energy = 0;
  *steepest = 0;
  for (int i = 0; i < CELLS; ++i) {
    *energy += 0.5 * burgers_.u[i] * burgers_.u[i] * burgers_.dx;
    *steepest = fmax(*steepest, fabs(burgers_.u[(i + 1) % CELLS] - burgers_.u[i]) / burgers_.dx);
  }
  *steps = burgers_.nstep;
}
