//! A token that goes away, forgets sessions, locks its PIN, or answers with errors.

use strongroom::device::{Fault, Intent, Protection, Root, Seal};

use crate::common::faulty::Faulty;
use crate::common::isolate::this_test;
use crate::common::softhsm::{SoftHsm, USER_PIN, in_own_process};
use crate::{Pins, code, hmac, pinned};

/// Runs `test` on a fresh token behind the fault module, with a secret in it.
fn on_a_token(name: &str, test: impl FnOnce(&Faulty, &Root, &Seal)) {
    in_own_process(
        name,
        || SoftHsm::new("payroll"),
        |hsm| {
            let faulty = Faulty::before(hsm);
            let pins = Pins::with(USER_PIN);
            let uri = faulty.uri("payroll").parse().expect("a device URI");
            let mut device = strongroom::device::open(&uri, None, &pins).expect("it opens");
            let root = device.provision(&Intent::random()).expect("it is provisioned");
            let seal = device.generate(Protection::None, &[7; 32]).expect("it makes a secret");
            drop(device);
            faulty.forget();
            test(&faulty, &root, &seal);
        },
    );
}

#[test]
fn a_wrong_pin_is_sent_once() {
    on_a_token(this_test!(), |faulty, root, seal| {
        let pins = Pins::with("4321-user");
        let mut device = pinned(&faulty.uri("payroll"), root, &pins);
        let error = hmac(device.as_mut(), &seal.use_part).expect_err("it is refused");
        assert!(matches!(error.fault, Fault::WrongPin { .. }), "{error}");
        assert_eq!(code(&error), "CKR_PIN_INCORRECT");
        hmac(device.as_mut(), &seal.use_part).expect_err("it is refused again, without the token");
        assert_eq!((faulty.count("C_Login"), pins.asked.get()), (1, 1));
    });
}

/// Its rules work, and its counts are right: the other tests here stand on it.
#[test]
fn the_fault_module_does_as_it_is_told() {
    on_a_token(this_test!(), |faulty, root, seal| {
        let pins = Pins::with(USER_PIN);
        faulty.set(&["C_Login 1 return 0xa4"]);
        let error = hmac(pinned(&faulty.uri("payroll"), root, &pins).as_mut(), &seal.use_part).expect_err("locked");
        assert!(matches!(error.fault, Fault::LockedOut { .. }), "{error}");
        let login = faulty.calls().into_iter().find(|call| call.name == "C_Login").expect("it was called");
        assert_eq!((login.pid, login.rv, login.forged), (std::process::id(), 0xa4, true));
        faulty.forget();
        faulty.set(&[]);
        hmac(pinned(&faulty.uri("payroll"), root, &pins).as_mut(), &seal.use_part).expect("an HMAC");
        assert!(faulty.calls().iter().all(|call| !call.forged));
        let names = ["C_Initialize", "C_Login", "C_UnwrapKey", "C_SignInit", "C_Sign", "C_Finalize"];
        assert_eq!(names.map(|name| faulty.count(name)), [1, 1, 1, 1, 2, 1], "{:?}", faulty.calls());
    });
}
