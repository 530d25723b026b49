/* Whether what is compiled beside it shares its work out to threads. */

int has_threads(void) {
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}
