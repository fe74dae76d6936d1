/* The groups of tests in simulation. Each returns how many failed. */
#ifndef TESTS_SIMULATION_TESTS_H
#define TESTS_SIMULATION_TESTS_H

int run_waiting_tests(void);   /* wake-ups: nothing hangs, nobody is woken for nothing */
int run_reconnect_tests(void); /* links lost at bad moments */
int run_slow_tests(void);      /* slow_subscriber */
int run_crowd_tests(void);     /* many publishers and subscribers, by seed */
int run_hostile_tests(void);   /* peers that break the rules */

#endif
