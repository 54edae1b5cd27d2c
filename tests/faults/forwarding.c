/* A PKCS#11 module that stands between the service and its HSM, and fails when a test says so. For tests alone.
 *
 * It forwards every function of PKCS#11 v2.40 to the module that FORWARDED_MODULE names. What it does besides stands in
 * the file that FORWARDED_CONTROL names, which every process maps that has loaded it: a test changes it while they run
 * (tests/faults/forwarding.py). Without that file it only forwards.
 *
 * Declarations are its own and as few as it takes: all arguments of PKCS#11 are integers or pointers, and a word each.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long word;

enum {
    OK = 0x000,
    SLOT_ID_INVALID = 0x003,
    GENERAL_ERROR = 0x005,
    DEVICE_ERROR = 0x030,
    DEVICE_REMOVED = 0x032,
    SESSION_COUNT = 0x0B1,
    TOKEN_NOT_PRESENT = 0x0E0,
};

/* Name and number of arguments, in the order of the function list (pkcs11f.h). */
#define FUNCTIONS(F)                                                                                                   \
    F(C_Initialize, 1) F(C_Finalize, 1) F(C_GetInfo, 1) F(C_GetFunctionList, 1) F(C_GetSlotList, 3)                    \
    F(C_GetSlotInfo, 2) F(C_GetTokenInfo, 2) F(C_GetMechanismList, 3) F(C_GetMechanismInfo, 3) F(C_InitToken, 4)       \
    F(C_InitPIN, 3) F(C_SetPIN, 5) F(C_OpenSession, 5) F(C_CloseSession, 1) F(C_CloseAllSessions, 1)                   \
    F(C_GetSessionInfo, 2) F(C_GetOperationState, 3) F(C_SetOperationState, 5) F(C_Login, 4) F(C_Logout, 1)            \
    F(C_CreateObject, 4) F(C_CopyObject, 5) F(C_DestroyObject, 2) F(C_GetObjectSize, 3) F(C_GetAttributeValue, 4)      \
    F(C_SetAttributeValue, 4) F(C_FindObjectsInit, 3) F(C_FindObjects, 4) F(C_FindObjectsFinal, 1)                     \
    F(C_EncryptInit, 3) F(C_Encrypt, 5) F(C_EncryptUpdate, 5) F(C_EncryptFinal, 3) F(C_DecryptInit, 3)                 \
    F(C_Decrypt, 5) F(C_DecryptUpdate, 5) F(C_DecryptFinal, 3) F(C_DigestInit, 2) F(C_Digest, 5) F(C_DigestUpdate, 3)  \
    F(C_DigestKey, 2) F(C_DigestFinal, 3) F(C_SignInit, 3) F(C_Sign, 5) F(C_SignUpdate, 3) F(C_SignFinal, 3)           \
    F(C_SignRecoverInit, 3) F(C_SignRecover, 5) F(C_VerifyInit, 3) F(C_Verify, 5) F(C_VerifyUpdate, 3)                 \
    F(C_VerifyFinal, 3) F(C_VerifyRecoverInit, 3) F(C_VerifyRecover, 5) F(C_DigestEncryptUpdate, 5)                    \
    F(C_DecryptDigestUpdate, 5) F(C_SignEncryptUpdate, 5) F(C_DecryptVerifyUpdate, 5) F(C_GenerateKey, 5)              \
    F(C_GenerateKeyPair, 8) F(C_WrapKey, 6) F(C_UnwrapKey, 8) F(C_DeriveKey, 6) F(C_SeedRandom, 3)                     \
    F(C_GenerateRandom, 3) F(C_GetFunctionStatus, 1) F(C_CancelFunction, 1) F(C_WaitForSlotEvent, 3)

enum {
#define NUMBERED(name, count) AT_##name,
    FUNCTIONS(NUMBERED)
#undef NUMBERED
    COUNT
};

/* What a test sets for one function, and what it reads: tests/faults/forwarding.py has the same layout. */
struct function {
    _Atomic uint64_t calls;
    _Atomic uint64_t answered;    /* calls that this module answered itself */
    _Atomic uint32_t code;        /* what it answers ... */
    _Atomic uint32_t times;       /* ... to so many calls (ALWAYS: to all) ... */
    _Atomic uint32_t skip;        /* ... after so many that it forwards */
    _Atomic uint32_t delay;       /* microseconds before each call */
    _Atomic uint32_t catch;       /* so many calls are held (ALWAYS: all) ... */
    _Atomic uint32_t held;        /* ... as long as this is not zero ... */
    _Atomic uint32_t held_pid;    /* ... in this process alone, unless it is zero */
    _Atomic uint32_t waiting;     /* how many are held just now */
    _Atomic uint32_t waiting_pid; /* of the process of the last one */
    _Atomic uint32_t held_mechanism; /* ... and with this mechanism alone, for C_SignInit */
};

struct process {
    _Atomic int32_t pid;
    _Atomic uint32_t sessions;
};

#define PROCESSES 64
#define ALWAYS UINT32_MAX

struct control {
    _Atomic uint32_t restarts;      /* of the HSM: what was initialised before one has DEVICE_ERROR for ever */
    _Atomic uint32_t away;          /* the token was taken out */
    _Atomic uint32_t drops;         /* the HSM has closed all sessions, once for each number */
    _Atomic uint32_t most_sessions; /* that all processes may have open together; 0: no limit */
    _Atomic uint32_t delay;         /* microseconds before each call of any function */
    _Atomic uint32_t token_flags;   /* added to those that C_GetTokenInfo tells */
    struct process processes[PROCESSES];
    struct function functions[COUNT];
};

static void *real[COUNT];
static struct control *control;
static _Atomic uint32_t born;    /* `restarts` when this process last initialised */
static _Atomic uint32_t dropped; /* the last of `drops` that this process has met */
static _Atomic word slot;        /* the last one that a session was opened on */
/* Calls share it; who closes the sessions under them has it alone. */
static pthread_rwlock_t inside = PTHREAD_RWLOCK_INITIALIZER;

static void pause_for(uint32_t microseconds) {
    struct timespec time = {microseconds / 1000000, (long)(microseconds % 1000000) * 1000};
    while (nanosleep(&time, &time) && errno == EINTR) {}
}

/* Takes one of a number that others take from too. */
static int take(_Atomic uint32_t *number) {
    uint32_t left = atomic_load(number);
    while (left && left != ALWAYS && !atomic_compare_exchange_weak(number, &left, left - 1)) {}
    return left != 0;
}

static void hold(int at, struct function *function, word second) {
    uint32_t only = atomic_load(&function->held_pid), wanted = atomic_load(&function->held_mechanism);
    if (at == AT_C_SignInit && wanted && *(word *)second != wanted) return; /* CK_MECHANISM begins with its type */
    if (!atomic_load(&function->held) || (only && only != (uint32_t)getpid()) || !take(&function->catch)) return;
    atomic_store(&function->waiting_pid, (uint32_t)getpid());
    atomic_fetch_add(&function->waiting, 1);
    while (atomic_load(&function->held)) pause_for(1000);
    atomic_fetch_sub(&function->waiting, 1);
}

/* This process's place among those that have sessions. */
static struct process *own_process(void) {
    int32_t own = (int32_t)getpid();
    for (int at = 0; at < PROCESSES; at++)
        if (atomic_load(&control->processes[at].pid) == own) return &control->processes[at];
    for (int at = 0; at < PROCESSES; at++) {
        int32_t pid = atomic_load(&control->processes[at].pid);
        if (pid && (!kill(pid, 0) || errno != ESRCH)) continue;
        if (!atomic_compare_exchange_strong(&control->processes[at].pid, &pid, own)) continue;
        atomic_store(&control->processes[at].sessions, 0);
        return &control->processes[at];
    }
    abort();
}

static void drop_sessions(void) {
    uint32_t drops = atomic_load(&control->drops);
    if (atomic_exchange(&dropped, drops) == drops) return;
    pthread_rwlock_wrlock(&inside);
    ((word(*)(word))real[AT_C_CloseAllSessions])(atomic_load(&slot));
    atomic_store(&own_process()->sessions, 0);
    pthread_rwlock_unlock(&inside);
}

static int is_local(int at) {
    return at == AT_C_Initialize || at == AT_C_Finalize || at == AT_C_GetInfo || at == AT_C_GetFunctionList;
}

static int is_of_slots(int at) { return at >= AT_C_GetSlotList && at <= AT_C_GetMechanismInfo; }

/* An error of these ends what their Init began (PKCS#11 v2.40, 5.8 to 5.13). The real one is let do so, and what it
 * makes is thrown away; asked for the length alone (no output), it would go on. */
static void end_operation(int at, word session, word data, word length) {
    static _Thread_local unsigned char output[16384];
    word room = sizeof output;
    if (at == AT_C_Encrypt || at == AT_C_Decrypt || at == AT_C_Digest || at == AT_C_Sign)
        ((word(*)(word, word, word, word, word))real[at])(session, data, length, (word)output, (word)&room);
}

/* Whether the call is answered here, and with what. */
static int answered(int at, word *code, word second) {
    if (!control) return 0;
    struct function *function = &control->functions[at];
    atomic_fetch_add(&function->calls, 1);
    uint32_t delay = atomic_load(&function->delay) + atomic_load(&control->delay);
    if (delay) pause_for(delay);
    hold(at, function, second);
    *code = OK;
    if (!is_local(at)) {
        if (atomic_load(&born) != atomic_load(&control->restarts)) *code = DEVICE_ERROR;
        else if (atomic_load(&control->away) && at == AT_C_OpenSession) *code = TOKEN_NOT_PRESENT;
        else if (atomic_load(&control->away) && !is_of_slots(at)) *code = DEVICE_REMOVED;
        else drop_sessions();
    }
    if (*code == OK && atomic_load(&function->times) && !take(&function->skip) && take(&function->times))
        *code = atomic_load(&function->code);
    if (*code != OK) atomic_fetch_add(&function->answered, 1);
    return *code != OK;
}

static uint32_t open_sessions(void) {
    uint32_t sum = 0;
    for (int at = 0; at < PROCESSES; at++) {
        int32_t pid = atomic_load(&control->processes[at].pid);
        if (pid && (!kill(pid, 0) || errno != ESRCH)) sum += atomic_load(&control->processes[at].sessions);
    }
    return sum;
}

#define WORDS1 word a
#define WORDS2 WORDS1, word b
#define WORDS3 WORDS2, word c
#define WORDS4 WORDS3, word d
#define WORDS5 WORDS4, word e
#define WORDS6 WORDS5, word f
#define WORDS8 WORDS6, word g, word h
#define GIVEN1 a
#define GIVEN2 GIVEN1, b
#define GIVEN3 GIVEN2, c
#define GIVEN4 GIVEN3, d
#define GIVEN5 GIVEN4, e
#define GIVEN6 GIVEN5, f
#define GIVEN8 GIVEN6, g, h

#define SECOND1 0
#define SECOND2 b
#define SECOND3 b
#define SECOND4 b
#define SECOND5 b
#define SECOND6 b
#define SECOND8 b
#define ENDED1(at) (void)0
#define ENDED2(at) (void)0
#define ENDED3(at) (void)0
#define ENDED4(at) (void)0
#define ENDED5(at) end_operation(at, a, b, c)
#define ENDED6(at) (void)0
#define ENDED8(at) (void)0

#define FORWARD(name, count)                                                                                           \
    static word forwarded_##name(WORDS##count) {                                                                       \
        word code;                                                                                                     \
        if (answered(AT_##name, &code, SECOND##count)) {                                                                              \
            ENDED##count(AT_##name);                                                                                   \
            return code;                                                                                               \
        }                                                                                                              \
        pthread_rwlock_rdlock(&inside);                                                                                \
        code = ((word(*)(WORDS##count))real[AT_##name])(GIVEN##count);                                                 \
        pthread_rwlock_unlock(&inside);                                                                                \
        return code;                                                                                                   \
    }
FUNCTIONS(FORWARD)
#undef FORWARD

/* Those that this module has more to say about. */

static word own_C_Initialize(word a) {
    word code;
    if (answered(AT_C_Initialize, &code, 0)) return code;
    code = ((word(*)(word))real[AT_C_Initialize])(a);
    if (code == OK && control) {
        atomic_store(&born, atomic_load(&control->restarts));
        atomic_store(&dropped, atomic_load(&control->drops));
        atomic_store(&own_process()->sessions, 0);
    }
    return code;
}

static word own_C_Finalize(word a) {
    word code;
    if (answered(AT_C_Finalize, &code, 0)) return code;
    code = ((word(*)(word))real[AT_C_Finalize])(a);
    if (code == OK && control) atomic_store(&own_process()->sessions, 0);
    return code;
}

static word own_C_GetSlotList(word a, word b, word c) {
    word code = forwarded_C_GetSlotList(a, b, c);
    /* CK_BBOOL tokenPresent is an octet, CK_SLOT_ID_PTR may be null, CK_ULONG_PTR is not. */
    if (code == OK && control && (a & 0xFF) && atomic_load(&control->away)) *(word *)c = 0;
    return code;
}

/* CK_TOKEN_INFO has its flags after label, manufacturer, model and serial number: 32 + 32 + 16 + 16 octets. */
static word own_C_GetTokenInfo(word a, word b) {
    word code = forwarded_C_GetTokenInfo(a, b);
    if (code == OK && control) *(word *)(b + 96) |= atomic_load(&control->token_flags);
    return code;
}

static word own_C_OpenSession(word a, word b, word c, word d, word e) {
    if (control) {
        uint32_t most = atomic_load(&control->most_sessions);
        if (most && open_sessions() >= most) {
            atomic_fetch_add(&control->functions[AT_C_OpenSession].answered, 1);
            return SESSION_COUNT;
        }
        atomic_store(&slot, a);
    }
    word code = forwarded_C_OpenSession(a, b, c, d, e);
    if (code == OK && control) atomic_fetch_add(&own_process()->sessions, 1);
    return code;
}

static word own_C_CloseSession(word a) {
    word code = forwarded_C_CloseSession(a);
    if (code == OK && control) atomic_fetch_sub(&own_process()->sessions, 1);
    return code;
}

static word own_C_CloseAllSessions(word a) {
    word code = forwarded_C_CloseAllSessions(a);
    if (code == OK && control) atomic_store(&own_process()->sessions, 0);
    return code;
}

struct list {
    unsigned char version[2];
    void *functions[COUNT];
};

static struct list *list_of_real;
static struct list list;
static pthread_once_t once = PTHREAD_ONCE_INIT;

word C_GetFunctionList(struct list **given);

static void load(void) {
    const char *module = getenv("FORWARDED_MODULE");
    void *library = module ? dlopen(module, RTLD_NOW | RTLD_LOCAL) : NULL;
    word (*get)(struct list **) = library ? (word(*)(struct list **))dlsym(library, "C_GetFunctionList") : NULL;
    if (!get || get(&list_of_real) != OK) {
        list_of_real = NULL;
        return;
    }
    memcpy(real, list_of_real->functions, sizeof real);
    memcpy(list.version, list_of_real->version, sizeof list.version);
#define LISTED(name, count) list.functions[AT_##name] = (void *)forwarded_##name;
    FUNCTIONS(LISTED)
#undef LISTED
    list.functions[AT_C_Initialize] = (void *)own_C_Initialize;
    list.functions[AT_C_Finalize] = (void *)own_C_Finalize;
    list.functions[AT_C_GetFunctionList] = (void *)C_GetFunctionList;
    list.functions[AT_C_GetSlotList] = (void *)own_C_GetSlotList;
    list.functions[AT_C_GetTokenInfo] = (void *)own_C_GetTokenInfo;
    list.functions[AT_C_OpenSession] = (void *)own_C_OpenSession;
    list.functions[AT_C_CloseSession] = (void *)own_C_CloseSession;
    list.functions[AT_C_CloseAllSessions] = (void *)own_C_CloseAllSessions;
    const char *name = getenv("FORWARDED_CONTROL");
    int file = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) control = mapped;
}

word C_GetFunctionList(struct list **given) {
    pthread_once(&once, load);
    if (!list_of_real) return GENERAL_ERROR;
    *given = &list;
    return OK;
}
