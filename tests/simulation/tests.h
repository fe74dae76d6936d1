/* The groups of tests in simulation. Each returns how many failed. */
#ifndef TESTS_SIMULATION_TESTS_H
#define TESTS_SIMULATION_TESTS_H

int run_joining_tests(void);       /* who may join, and how streams end early */
int run_waiting_tests(void);       /* wake-ups: nothing hangs, nobody is woken for nothing */
int run_reconnect_tests(void);     /* links lost at bad moments */
int run_slow_tests(void);          /* slow_subscriber */
int run_crowd_tests(void);         /* many publishers and subscribers, by seed */
int run_in_place_tests(void);      /* batches built in the subscriber's buffer */
int run_in_place_room_tests(void); /* ... and rooms reserved there */
int run_lend_tests(void);          /* batches read in the publisher's buffer */
int run_stall_tests(void);         /* what counts as a stall */
int run_linger_tests(void);        /* when the linger is looked at */
int run_report_tests(void);        /* how soon a subscriber tells what it has */
int run_hostile_tests(void);       /* peers that break the rules */

#endif
